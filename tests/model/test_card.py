from __future__ import annotations

import hashlib
import json

import numpy as np

import gapkit
from gapkit import SOAP, DotProduct, GAPRegressor, Term
from gapkit.model import collect_labels, data_card, software_card
from tests.conftest import copies


def small() -> GAPRegressor:
    return GAPRegressor([Term(SOAP(3.5, 3, 2), DotProduct(2), n_sparse=10)], random_state=0)


def test_counts_and_hash(alloy):
    card = data_card(alloy, collect_labels(alloy))
    assert card["frames"] == 10
    assert sum(card["atoms"].values()) == sum(map(len, alloy))
    assert card["config_types"] == {"slab": 5, "bulk": 5}
    assert card["labels"] == {"energy": 10, "forces": 3 * sum(map(len, alloy)), "stress": 60}
    one, digest = alloy[0], hashlib.sha256()
    digest.update(one.numbers.astype("<i8").tobytes())
    labels = one.get_potential_energy(), one.get_forces(), one.get_stress()
    for part in (one.positions, one.cell.array, one.pbc, *labels):
        digest.update(np.asarray(part, "<f8").tobytes())
    assert data_card(alloy[:1], collect_labels(alloy[:1]))["sha256"] == digest.hexdigest()


def test_hash_sees_positions_labels_and_order(alloy):
    frames = copies(alloy)
    original = data_card(frames, collect_labels(frames))["sha256"]
    assert data_card(copies(alloy), collect_labels(alloy))["sha256"] == original
    assert data_card(frames[::-1], collect_labels(frames[::-1]))["sha256"] != original
    frames[3].calc.results["forces"] = frames[3].calc.results["forces"] + 1e-9
    assert data_card(frames, collect_labels(frames))["sha256"] != original


def test_card_is_in_the_file_and_grows(alloy, tmp_path):
    model = small().fit(alloy[:6])
    model.card_["given"] = {"dft": {"functional": "PBE"}}
    model.save(tmp_path / "m.gap")
    loaded = gapkit.load(tmp_path / "m.gap")
    assert loaded.card_ == model.card_ == json.loads(json.dumps(model.card_))
    assert loaded.card_["software"] == software_card()
    loaded.partial_fit(alloy[6:])
    assert [data["frames"] for data in loaded.card_["data"]] == [6, 4]
    assert loaded.card_["given"] == {"dft": {"functional": "PBE"}}
    assert len(model.card_["data"]) == 1
