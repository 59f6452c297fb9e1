"""The configuration of a download."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from tenkizu.core.config import Section


class DownloadConfig(Section):
    """How ERA5 is fetched; what is fetched follows from `data`."""

    model_config = ConfigDict(allow_inf_nan=False)

    tasks: Literal["all", "needed"] = Field(
        default="all",
        description="all: the 23 requests a year, whatever the channels; needed: only those that "
        "the channels of this file are made of.",
    )
    split: Literal["year", "month"] = Field(
        default="year",
        description="What one request asks for; months, for accounts with small limits, are "
        "joined into the file of the year.",
    )
    parallel: Annotated[int, Field(ge=1, le=4)] = Field(
        default=4, description="Requests under way at once, at most 4."
    )
    retries: NonNegativeInt = Field(
        default=5,
        description="New attempts after an error of the server, a broken connection or a bad file.",
    )
    retry_pause_s: NonNegativeFloat = Field(
        default=10.0,
        description="Seconds before the first new attempt, doubled each time; a longer pause that "
        "the server asks for counts.",
    )
    poll_s: PositiveFloat = Field(
        default=60.0,
        description="Longest time between two looks at a waiting request, seconds; the first looks "
        "come sooner.",
    )
    timeout_s: PositiveFloat = Field(
        default=60.0, description="Seconds without a byte after which a connection is broken."
    )
    verify: Literal["size", "full"] = Field(
        default="size",
        description="Files of earlier downloads are checked by request and size, or in full: "
        "checksum and every value.",
    )
    url: str | None = Field(
        default=None,
        description="Address of the data store; null for that of the credentials.",
    )
