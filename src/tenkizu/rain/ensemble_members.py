"""The members of an ensemble: draws of models with noise, and models of several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain.fields import is_field

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

DRAWS = 20
"""Members that a model with noise gives when their number is not asked for."""


@dataclass(frozen=True)
class Member:
    """One way to split a total.

    Attributes:
        path: what the model was loaded from.
        model: the network, shared by all its draws.
        draw: number of the draw, from 1; None for a model without noise.
    """

    path: str | Path
    model: "RainModel"
    draw: int | None


def load_members(models: Sequence[str | Path], members: int | None = None) -> list[Member]:
    """Load the models of an ensemble, which must be different and alike in their needs.

    Args:
        models: as `evaluate_ensemble`.
        members: draws of each model with noise; by default `DRAWS`.

    Returns:
        Two members or more, in the order of the models and, of each, of its draws.

    Raises:
        ConfigError: fewer than two members, a model twice, or draws of models without noise.
        DataError: one cannot be loaded or does not conserve S, or they need different fields.
    """
    from tenkizu.rain.model import RainModel

    if members is not None and members < 1:
        raise ConfigError("no such number", variable="members", found=members, expected="1 or more")
    ensemble: list[Member] = []
    seen: dict[str, str | Path] = {}
    for path in models:
        one = RainModel.load(path)
        known = len(seen)
        first = seen.setdefault(str(one.metadata["weights_sha256"]), path)
        if len(seen) == known:
            raise ConfigError(
                "the same model twice is no ensemble",
                variable="models (-m)",
                found=f"{path} has the weights of {first}",
                next_step="name each model once, or train with another train.seed",
            )
        if not one.net.conserves:
            raise DataError(
                "this model's hours do not add to the total, so they are not shares of it",
                file=path,
                next_step="use models with model.rescale=true or model.head=allocation",
            )
        draws = range(1, (members or DRAWS) + 1) if one.net.noise else (None,)
        ensemble += [Member(path, one, draw) for draw in draws]
        _require_alike(one, ensemble[0].model, path, models[0])
    _require_several(models, ensemble, members)
    return ensemble


def _require_several(
    models: Sequence[str | Path], ensemble: Sequence[Member], members: int | None
) -> None:
    """Refuse an ensemble of one, and draws that no model can make."""
    noisy = any(member.draw for member in ensemble)
    with_noise = "train a model with noise (tenkizu config new rain_ensemble)"
    if members is not None and not noisy:
        raise ConfigError(
            "members are drawn from a model with noise, and there is none",
            variable="members",
            found=", ".join(map(str, models)),
            expected="a model with model.noise of 1 or more",
            next_step=f"leave members out, or {with_noise}",
        )
    if len(ensemble) < 2 and noisy:
        raise ConfigError(
            "an ensemble has at least two members",
            variable="members",
            found=len(ensemble),
            next_step=f"draw more: --members {DRAWS}",
        )
    if len(ensemble) < 2:
        raise ConfigError(
            "an ensemble has at least two models, or draws of one with noise",
            variable="models (-m)",
            found=len(ensemble),
            next_step="train the same configuration from another seed: "
            f"tenkizu rain train CONFIG train.seed=2 run.name=NAME_2; or {with_noise}",
        )


def _require_alike(
    one: "RainModel", other: "RainModel", path: str | Path, first: str | Path
) -> None:
    """Refuse models that cannot be fed from the same windows."""
    needs = [{name for name in model.net.channels if is_field(name)} for model in (one, other)]
    if needs[0] != needs[1]:
        extra, lacking = sorted(needs[0] - needs[1]), sorted(needs[1] - needs[0])
        raise DataError(
            "the models need different forecast fields",
            file=path,
            found=f"also {', '.join(extra) or 'nothing'}, not {', '.join(lacking) or 'nothing'}",
            expected=f"those of {first}",
            next_step="train all members from one configuration with different train.seed",
        )


def models_of(ensemble: Sequence[Member]) -> list["RainModel"]:
    """Each model once, in order."""
    return [member.model for member in ensemble if member.draw in (None, 1)]


def describe(ensemble: Sequence[Member]) -> list[dict[str, Any]]:
    """Each model, with the numbers of its members."""
    return [
        {
            "model": str(member.path),
            "name": str(member.model.metadata.get("name")),
            "weights": member.model.weights_hash,
            "members": [i for i, m in enumerate(ensemble, 1) if m.model is member.model],
        }
        for member in ensemble
        if member.draw in (None, 1)
    ]
