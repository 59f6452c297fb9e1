"""`tenkizu patterns` in this process, and the message with which it refuses."""

from short_runs import command, written


def run(*arguments):
    return command("patterns", *arguments)


def refusal(code, *arguments):
    """The message of a command that ends with an exit code, one line and a next step."""
    found, out, err = run(*arguments)
    assert found == code, (out, err)
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    return err[err.index("error: ") :]


def tiny_yaml(pattern_config, folder):
    """The tiny run in a folder of its own."""
    config = pattern_config(folder, train={"epochs": 1}, report={"cases": 0})
    return written(config, folder / "tiny.yaml")
