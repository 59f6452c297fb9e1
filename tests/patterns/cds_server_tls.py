"""The store of `cds_server` behind TLS, with a certificate that nobody vouches for."""

import ssl

# Of 127.0.0.1, signed by itself, for tests only; both by
# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
#     -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem
KEY_AND_CERTIFICATE = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvdBLYwqLamL9f+Fj
6x4Xkas9jUM/1SvHXKCTc1hKadChRANCAASnbHVL/JJHYeTcVM9JpJvFpvoJbVfo
VbmWhNuBJuA0FqrxBZmyo5i+/uSiLCKqEjpVI3xxkTKqT6DO0WGdjEnZ
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUAtJAp6fa/QgrF1h9btZkzt4CgVowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMjA4NTAxNloYDzIxMjYxMDI5
MDg1MDE2WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASnbHVL/JJHYeTcVM9JpJvFpvoJbVfoVbmWhNuBJuA0FqrxBZmyo5i+
/uSiLCKqEjpVI3xxkTKqT6DO0WGdjEnZo2QwYjAdBgNVHQ4EFgQUbqmRJOwpwAqh
ALuqPho3TfenGiUwHwYDVR0jBBgwFoAUbqmRJOwpwAqhALuqPho3TfenGiUwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQCLvxzhN9UAHJ4hfJG54JcwAIiyQKz0AlMOzb3+zSuAUQIgYMktpYKtJ66KYO36
cGhsbJQfd2PDZjBe+B+iGe7KdtE=
-----END CERTIFICATE-----
"""


def with_tls(server, folder):
    """Let a store that does not run yet speak TLS; returns it. ``folder`` takes the certificate."""
    pem = folder / "cert.pem"
    pem.write_text(KEY_AND_CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
    server.root = server.root.replace("http:", "https:")
    server.url = f"{server.root}/api"
    return server
