"""Damaged GRIB2 files give an error that names the file, or right numbers (see `jma_mutations`)."""

import os
from collections import Counter

import numpy as np
import pytest
from jma_damage import damaged
from jma_decoding import fields
from jma_mutations import (
    Head,
    Mutation,
    base_of,
    every_bit,
    judged,
    only_packed,
    tried,
    truth_of,
)

from tenkizu.core.parallel import run_tasks

SMALL = {"guidance": 13, "members": 9, "short_range": 8, "radar": 8, "meps": 12}
"""Mutations by base: fifty."""

ALL = {
    **{"meps": 600, "guidance": 300, "members": 200, "short_range": 150, "radar": 150},
    **{"archive": 450, "operational": 150},
}
"""Mutations by base: two thousand."""

SECTIONS = (0, 1, 3, 4, 5, 6, 7)

GOOD = {"refused", "listed", "same", "packed"}


def run(counts, workers=1, first=0):
    """Outcomes of mutations by what they were: (judgement, damage, what was found)."""
    mutations = [Mutation(base, first + i) for base, count in counts.items() for i in range(count)]
    results = {}
    for i, outcome in run_tasks(tried, mutations, workers=workers, timeout=60):
        if isinstance(outcome, Exception):
            outcome = (type(outcome).__name__, "", str(outcome))
        results[mutations[i]] = outcome
    return results


def assert_good(results, count):
    bad = {mutation: outcome for mutation, outcome in results.items() if outcome[0] not in GOOD}
    assert not bad, "\n".join(f"{mutation}: {outcome}" for mutation, outcome in bad.items())
    assert len(results) == count
    judgements = Counter(outcome[0] for outcome in results.values())
    # Most damage is seen, some is harmless, and some lies in packed data.
    assert judgements["refused"] > count / 2
    assert judgements["same"] > 0
    assert judgements["packed"] > 0


def test_fifty_mutations(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert_good(run(SMALL), 50)


@pytest.mark.slow
def test_two_thousand_mutations(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert_good(run(ALL, workers=len(os.sched_getaffinity(0)), first=1000), 2000)


@pytest.mark.slow
def test_every_bit_of_every_head(monkeypatch):
    """All single bits of all sections of one field: 11,544, two minutes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fields = {"guidance": 0, "members": 1, "short_range": 2, "radar": 0}
    heads = [Head(base, i, section) for base, i in fields.items() for section in SECTIONS]
    # Spatial differencing, and a reused bitmap.
    heads += [Head("meps", 2, section) for section in (5, 7)]
    heads += [Head("guidance", 2, section) for section in (4, 5, 6)]
    bad, count = [], 0
    for _, found in run_tasks(every_bit, heads, workers=2, timeout=600):
        assert isinstance(found, list), found
        count += len(found)
        bad += [outcome for outcome in found if outcome[0] not in GOOD]
    assert not bad, "\n".join(map(str, bad))
    assert count == 11_544


# The judge itself.


@pytest.fixture(scope="module")
def base():
    return base_of("guidance")


def flipped(base, section, octet, field=0, bit=0):
    """The files with one bit of one octet (from 1) flipped."""
    ((name, content),) = base.files.items()
    place = fields(content)[field].offsets[section] + octet - 1
    return {name: content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]}


def test_right_values_are_judged_the_same(base):
    assert judged(base, base.files, dict(truth_of(base)), "")[0] == "same"


def test_any_other_number_is_judged_wrong(base):
    found = {name: values.copy() for name, values in truth_of(base).items()}
    row, column = np.argwhere(~np.isnan(found["0"]))[0]
    found["0"][row, column] += 0.0625
    judgement, _, reason = judged(base, base.files, found, "")
    assert judgement == "wrong"
    assert "is not what its packed data say" in reason


def test_only_the_number_with_the_flipped_bit_may_change(base):
    files = flipped(base, section=7, octet=6 + 30, bit=2)
    (content,) = files.values()
    now, truth = fields(content)[0].values, truth_of(base)["0"]
    changed = np.argwhere((now != truth) & ~np.isnan(truth))
    assert len(changed) == 1
    found = dict(truth_of(base)) | {"0": now}
    assert judged(base, files, found, "")[0] == "packed"
    other = found | {"2": truth_of(base)["2"] + 1}
    assert judged(base, files, other, "")[0] == "wrong"


@pytest.mark.parametrize(
    ("section", "octet", "packed"),
    [
        *((5, 11, False), (5, 12, True), (5, 19, True), (5, 20, False)),
        *((6, 6, False), (6, 7, True), (7, 6, True)),
        *((1, 15, False), (3, 34, False), (4, 11, False)),
    ],
)
def test_what_counts_as_packed_data(section, octet, packed, base):
    (before,) = base.files.values()
    try:
        (content,) = flipped(base, section, octet).values()
        now = fields(content)
    except (ValueError, TypeError):
        assert not packed
        return
    assert only_packed(fields(before)[0], now[0]) is packed


def test_damage_is_the_same_for_the_same_seed(base):
    for seed in range(60):
        first, second = (
            damaged(base.files, base.others, np.random.default_rng(seed)) for _ in range(2)
        )
        assert first == second
        assert first[1] != base.files
