"""The numbers by which one GRIB2 field is chosen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldKey:
    """The numbers by which one field is chosen.

    Attributes:
        name: of the field in our files, for messages.
        discipline: with ``category`` and ``number``, the parameter.
        category: see ``discipline``.
        number: see ``discipline``.
        template: of the product definition (section 4).
        level_type: kind of the first fixed surface.
        levels: any of these values, in the unit of the kind (Pa, m); empty for any.
        end_minutes: end of the interval, or the time itself, from the initial time.
        length_minutes: of the interval; 0 for an instant.
        statistic: over the interval; 1 is accumulation, None for an instant.
        member: of an ensemble; None where there is none.
    """

    name: str
    discipline: int
    category: int
    number: int
    template: int
    level_type: int
    levels: tuple[float, ...]
    end_minutes: int
    length_minutes: int = 0
    statistic: int | None = None
    member: int | None = None

    def __str__(self) -> str:
        """The name and the numbers, for messages."""
        level = " or ".join(f"{value:g}" for value in self.levels)
        text = (
            f"{self.name} ({self.discipline}/{self.category}/{self.number}, template "
            f"4.{self.template}, level type {self.level_type}{level and f' at {level}'}, "
            f"end {self.end_minutes} min"
        )
        if self.statistic is not None:
            text += f", length {self.length_minutes} min, statistic {self.statistic}"
        return text + (")" if self.member is None else f", member {self.member})")
