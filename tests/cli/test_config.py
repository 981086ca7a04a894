from __future__ import annotations

import pytest
import yaml
from ase.calculators.emt import EMT

from gapkit import RBF, SOAP, ZBL, Baseline, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody
from gapkit.cli.config import config_of, dump_config, label_keys, model_from_config, override, read_config
from gapkit.exceptions import ConfigError

TEXT = """
soap: {r_cut: 4.5, n_max: 6, l_max: 4, sigma: 0.4, zeta: 2, delta: 0.5, n_sparse: 200}
near: {type: soap, r_cut: 3.0, length_scale: 0.7, n_sparse: {Si: 20}, selection: fps}
noise: {energy: 1e-3, forces: 5.0e-2, stress: 1.e-2, liquid: {forces: 0.2}}
e0: {Si: -0.8}
baseline: {type: zbl, r_outer: {Si-Si: 1.9}}
random_state: 3
"""


def test_a_config_is_an_estimator(tmp_path):
    (tmp_path / "gap.yaml").write_text(TEXT)
    model = model_from_config(read_config(tmp_path / "gap.yaml"))
    (soap, first), (near, second) = model.named_terms()
    assert (soap, near) == ("soap", "near")
    assert repr(first) == repr(Term(SOAP(4.5, 6, 4, 0.4), DotProduct(2), delta=0.5, n_sparse=200))
    assert repr(second) == repr(Term(SOAP(3.0), RBF(0.7), n_sparse={"Si": 20}, selection="fps"))
    assert (model.noise.energy, model.noise.forces, model.noise.stress) == (1e-3, 0.05, 0.01)  # 1e-3 is a number
    liquid = model.noise.per_config_type["liquid"]
    assert (liquid.energy, liquid.forces) == (1e-3, 0.2)
    assert (model.e0, model.random_state) == ({"Si": -0.8}, 3)
    assert repr(model.baseline) == repr(ZBL({"Si-Si": 1.9}))


def test_config_and_back(tmp_path):
    (tmp_path / "gap.yaml").write_text(TEXT)
    model = model_from_config(read_config(tmp_path / "gap.yaml"))
    (tmp_path / "again.yaml").write_text(dump_config(config_of(model)))
    assert repr(model_from_config(read_config(tmp_path / "again.yaml"))) == repr(model)


def test_defaults_are_written_out():
    config = config_of(GAPRegressor())
    assert list(config) == ["soap", "noise", "e0", "random_state"]
    assert config["soap"]["n_sparse"] == 1000
    assert config["noise"] == {"energy": 1e-3, "forces": 0.05, "stress": 0.01}
    assert config_of(GAPRegressor([Term(SOAP(), DotProduct(2) + RBF())], noise=Noise()))["soap"]["kernel"].startswith(
        "DotProduct"
    )


def test_a_calculator_is_shown_but_not_read(alloy):
    text = config_of(GAPRegressor(baseline=Baseline(EMT(), "cheap")))["baseline"]
    assert text == "cheap (EMT): a calculator, for Python only"
    with pytest.raises(ConfigError, match=r"calculator is given in Python: GAPRegressor\(baseline=Baseline\(calculator\)\)"):
        model_from_config({"baseline": text})
    assert model_from_config({"baseline": None}).baseline is None


def test_override():
    config = {"soap": {"r_cut": 5.0}}
    changed = override(config, ["soap.n_sparse=20", "noise.energy=2e-3", "e0=-1.5", "noise.hot.forces=0.3"])
    assert changed == {"soap": {"r_cut": 5.0, "n_sparse": 20}, "noise": {"energy": 0.002, "hot": {"forces": 0.3}}, "e0": -1.5}
    assert config == {"soap": {"r_cut": 5.0}}


def test_label_keys():
    assert label_keys({"labels": {"energy": "E0"}}) == {"energy": "E0"}
    assert label_keys({}) == {}


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"soap": {"rcut": 5.0}}, ConfigError, "Unknown key in block 'soap': 'rcut'. Did you mean 'r_cut'?"),
        ({"soup": {"r_cut": 5.0}}, ConfigError, "Unknown block: 'soup'. Did you mean 'soap'?"),
        ({"pair": {"type": "sope"}}, ConfigError, "Unknown type of block 'pair': 'sope'. Did you mean 'soap'?"),
        ({"soap": {"zeta": 2, "length_scale": 1.0}}, ConfigError, "must have one of"),
        ({"soap": {"kernel": "mattern"}}, ConfigError, "Unknown kernel of block 'soap': 'mattern'. Did you mean 'matern'?"),
        (
            {"soap": {"kernel": "matern", "zeta": 2}},
            ConfigError,
            "must not have ['zeta']: the kernel matern has",
        ),
        ({"soap": {"nu": 2.5}}, ConfigError, "Unknown key in block 'soap': 'nu'"),
        ({"soap": 5}, ConfigError, "Block 'soap' must hold parameters"),
        ({"soap": {"r_cut": "wide"}}, TypeError, "`r_cut` must be a number"),
        ({"soap": {"r_cut": -1}}, ValueError, "`r_cut` must be a number above 1"),
        ({"noise": {"enery": 1e-3}}, ConfigError, "Unknown key in block 'noise': 'enery'. Did you mean 'energy'?"),
        ({"noise": {"hot": {"force": 1}}}, ConfigError, "Unknown key in block 'noise.hot': 'force'. Did you mean 'forces'?"),
        ({"noise": {"energy": 0}}, ValueError, "`noise.energy` must be a number above 0"),
        ({"noise": 3}, ConfigError, "Block 'noise' must be"),
        (
            {"baseline": "zbl"},
            ConfigError,
            "must be {type: zbl}, with r_outer and r_inner if you like; got 'zbl'.",
        ),
        ({"baseline": {"type": "emt"}}, ConfigError, "Block 'baseline' must be {type: zbl}"),
        (
            {"baseline": {"type": "zbl", "r_out": 2}},
            ConfigError,
            "Unknown key in block 'baseline': 'r_out'. Did you mean 'r_outer'?",
        ),
        ({"labels": {"energies": "E"}}, ConfigError, "Did you mean 'energy'?"),
        ({"labels": "E"}, ConfigError, "Block 'labels' must be"),
    ],
)
def test_mistakes(config, error, message):
    import re

    with pytest.raises(error, match=re.escape(message)):
        (label_keys(config), model_from_config(config))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soap: {r_cut: 5", "must be YAML"),
        ("- a\n- b", "must hold blocks"),
        ("!!python/object/apply:os.system [ls]", "must be YAML"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "gap.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "gap.yaml")


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "gap.yaml").write_text("# nothing\n")
    assert read_config(tmp_path / "gap.yaml") == {}
    with pytest.raises(FileNotFoundError, match="gapkit init"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["soap", "=3", "soap.r_cut.x=3"])
def test_bad_overrides(text):
    with pytest.raises(ConfigError, match="--set"):
        override({"soap": {"r_cut": 5.0}}, [text])


def test_pairs_triplets_and_quips_soap():
    text = """
pair: {type: two_body, r_cut: 4.5, length_scale: 0.8, delta: 0.5, n_sparse: 20}
triplet: {type: three_body, r_cut: 3.5, delta: 0.05, n_sparse: 100, scale: std, tabulate: true}
soap: {r_cut: 4.5, rbf: {type: quip, central_weight: 0.5}, cutoff_width: 0.5}
turbo: {type: soap, r_cut: 4.5, rbf: {type: turbo, basis: poly3gauss, atom_sigma_t: [0.5, 0.6]}, cutoff_width: 0.5}
"""
    model = model_from_config(yaml.safe_load(text))
    pair, triplet, soap, turbo = (term for _, term in model.named_terms())
    assert repr(pair) == repr(Term(TwoBody(4.5), RBF(0.8), delta=0.5, n_sparse=20))
    assert repr(triplet) == repr(Term(ThreeBody(3.5, tabulate=True), RBF(1.0), delta=0.05, n_sparse=100, scale="std"))
    assert soap.descriptor.rbf.central_weight == 0.5
    assert turbo.descriptor.rbf.atom_sigma_t == [0.5, 0.6]
    again = model_from_config(yaml.safe_load(dump_config(config_of(model))))
    assert repr(again.named_terms()) == repr(model.named_terms())


@pytest.mark.parametrize(
    ("rbf", "message"),
    [
        (
            {"type": "quip", "central_wait": 1.0},
            "Unknown key of rbf in block 'soap': 'central_wait'. Did you mean 'central_weight'",
        ),
        ({"type": "fhi"}, "`rbf` of block 'soap' must be"),
    ],
)
def test_bad_basis(rbf, message):
    with pytest.raises(ConfigError, match=message):
        model_from_config({"soap": {"rbf": rbf}})
