"""Potentials of QUIP in gapkit and of gapkit in QUIP: gap_fit makes them, quippy is the truth."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.testing import assert_allclose

from gapkit import (
    RBF,
    SOAP,
    ZBL,
    Constant,
    DotProduct,
    GAPCalculator,
    GAPRegressor,
    Noise,
    PiecewisePolynomial,
    QuipBasis,
    Term,
    ThreeBody,
    TwoBody,
    load,
)
from gapkit.exceptions import BaselineError, InvalidStructureError, ModelFormatError, NumericalWarning
from gapkit.interop.quip_writer import write_quip
from gapkit.interop.quip_xml import read_quip
from gapkit.model.quip import to_quip
from tests.conftest import copper_gold, labelled
from tests.quip_oracle import gap_fit, needs_quippy, quippy, quippy_alone

PAIR = "distance_2b cutoff=4.5 cutoff_transition_width=0.8 covariance_type=ard_se delta=1.5 theta_uniform=1.0 n_sparse=8 "
PAIR += "sparse_method=uniform"
TRIPLET = "angle_3b cutoff=3.4 cutoff_transition_width=0.6 covariance_type=ard_se delta=0.3 theta_fac=0.5 n_sparse=10 "
TRIPLET += "sparse_method=uniform"
SOAP_TEXT = "soap l_max=3 n_max=4 atom_sigma=0.5 cutoff=4.0 cutoff_transition_width=1.0 covariance_type=dot_product zeta=2 "
SOAP_TEXT += "delta=0.7 n_sparse=10 sparse_method=cur_points"


def structures() -> list[Atoms]:
    """Rattled, sheared, mixed, some smaller than the cutoff, periodic in three and in two directions, and a molecule."""
    cluster = copper_gold(20, pbc=False)
    return [copper_gold(11, pbc=True), copper_gold(12), copper_gold(13, pbc=True, n=8), cluster]


def training() -> list[Atoms]:
    return [labelled(copper_gold(seed, pbc=True)) for seed in range(4)]


def rounding(model: GAPRegressor) -> float:
    """Of a local energy, eV (DESIGN.md, section 5): coefficients are large and of both signs, and add up to little."""
    total = sum(np.abs(alpha).sum() for term in model.potential_.coefficients for alpha in term)
    return max(1e-10, 1e-15 * total)


def assert_same(model: GAPRegressor, theirs, frames: list[Atoms]) -> None:
    """Energies and virials are sums over atoms: so is their rounding."""
    atol = rounding(model)
    for ours, quip, atoms in zip(model.evaluate(frames), theirs, frames, strict=True):
        assert_allclose(ours.energies, quip.energies, rtol=0, atol=atol)
        assert_allclose(ours.energy, quip.energy, rtol=0, atol=atol * len(atoms))
        assert_allclose(ours.forces, quip.forces, rtol=0, atol=2 * atol)
        if ours.stress is not None:
            virial = -voigt_6_to_full_3x3_stress(ours.stress) * atoms.get_volume()
            assert_allclose(virial, quip.virial, rtol=0, atol=2 * atol * len(atoms))


MODELS = {
    "pair": PAIR,
    "pair with f0": PAIR + " f0=0.5",
    "compact": PAIR.replace("ard_se", "pp").replace("theta_uniform=1.0", "theta_uniform=3.0"),
    "triplet": TRIPLET,
    "blind pair": PAIR + " add_species=F",
    "soap": SOAP_TEXT,
    "all": f"{PAIR} : {TRIPLET} : {SOAP_TEXT}",
    "two of a kind": f"{PAIR} : {PAIR.replace('cutoff=4.5', 'cutoff=3.0')} : {SOAP_TEXT}",
    "decay": SOAP_TEXT + " cutoff_dexp=2 cutoff_scale=3.0 cutoff_rate=0.5 central_weight=0.8",
    "sigma0": SOAP_TEXT + " covariance_sigma0=0.2",
    "diagonal": SOAP_TEXT + " diagonal_radial=T",
    "one centre": SOAP_TEXT + " add_species=F Z=29 n_species=2 species_Z={79 29}",
    "one visible": SOAP_TEXT + " add_species=F n_Z=2 Z={29 79} n_species=1 species_Z={79}",
    "blind": SOAP_TEXT + " add_species=F",
    "nu": SOAP_TEXT + " nu_R=2 nu_S=1",
    "nu 0": SOAP_TEXT + " nu_R=1 nu_S=0",
    "map": SOAP_TEXT + " Z_map={29 , 79 : 29 79}",
    "mixed": SOAP_TEXT + " R_mix=T Z_mix=T K=5 sym_mix=F coupling=F mix_shift=3",
    "mixed, symmetric": SOAP_TEXT + " R_mix=T Z_mix=T K=4 sym_mix=T coupling=T",
    "species mixed": SOAP_TEXT + " Z_mix=T K=3 sym_mix=T coupling=F",
    "zeta 1.5": SOAP_TEXT.replace("zeta=2", "zeta=1.5"),
}


@needs_quippy
@pytest.mark.parametrize("name", MODELS)
def test_potentials_of_gap_fit_run(name, tmp_path):
    path = gap_fit(tmp_path, training(), MODELS[name].replace("{", "{{").replace("}", "}}"))
    model = load(path)
    frames = structures()
    assert_same(model, quippy(path, frames), frames)
    # to QUIP and back
    again = tmp_path / "again.xml"
    write_quip(to_quip(model), again)
    assert_same(model, quippy(again, frames), frames)
    one, two = read_quip(again), read_quip(again)
    assert_allclose([p.energy for p in load(again).evaluate(frames)], [p.energy for p in model.evaluate(frames)], rtol=1e-13)
    assert one.label == two.label == to_quip(load(again)).label


TURBO = "soap_turbo l_max=4 alpha_max={4} atom_sigma_r={0.4} atom_sigma_t={0.4} atom_sigma_r_scaling={0.1} "
TURBO += (
    "atom_sigma_t_scaling={0.05} amplitude_scaling={1.0} central_weight={0.7} rcut_hard=4.2 rcut_soft=3.6 radial_enhancement=1 "
)
TURBO += (
    "basis=poly3gauss scaling_mode=polynomial covariance_type=dot_product zeta=2 delta=0.7 n_sparse=10 sparse_method=cur_points"
)
TURBOS = {"poly3gauss": TURBO, "trivial": TURBO + " compress_mode=trivial", "poly3": TURBO.replace("poly3gauss", "poly3")}


@needs_quippy
@pytest.mark.parametrize("name", TURBOS)
def test_soap_turbo_runs(name, tmp_path):
    """Forces of QUIP's soap_turbo are not quite the derivatives of its energies: 5e-7 of the largest, times distances."""
    text = (
        re.sub(r"\{([0-9.]+)\}", r"{{\1 \1}}", TURBOS[name]) + " add_species=F n_species=2 species_Z={{29 79}} central_index="
    )
    path = gap_fit(tmp_path, training(), f"{text}1 : {text}2")
    model, frames = load(path), structures()
    write_quip(to_quip(model), tmp_path / "again.xml")
    for xml in (path, tmp_path / "again.xml"):
        for ours, quip, atoms in zip(model.evaluate(frames), quippy_alone(xml, frames), frames, strict=True):
            assert_allclose(ours.energies, quip.energies, rtol=0, atol=rounding(model))
            assert_allclose(ours.forces, quip.forces, rtol=0, atol=1e-6 * np.abs(quip.forces).max())
            if ours.stress is not None:
                virial = -voigt_6_to_full_3x3_stress(ours.stress) * atoms.get_volume()
                assert_allclose(virial, quip.virial, rtol=0, atol=1e-5 * np.abs(quip.virial).max())


@needs_quippy
@pytest.mark.parametrize("version", [1423143768, 1423143769, 1426512067])
def test_old_versions_mean_what_they_meant(version, tmp_path):
    path = gap_fit(tmp_path, training(), SOAP_TEXT)
    text = re.sub(r'gap_version="\d+"', f'gap_version="{version}"', path.read_text())
    path.write_text(text)
    frames = structures()
    assert_same(load(path), quippy(path, frames), frames)


@needs_quippy
def test_old_forms(tmp_path):
    """e0 for all species as an attribute; zeta in <theta>; E_scale; no gap_version at all."""
    path = gap_fit(tmp_path, training(), SOAP_TEXT, "e0=-0.3")
    text = re.sub(r"<GAP_data.*?</GAP_data>", '<GAP_data do_core="F" e0="-0.3"></GAP_data>', path.read_text(), flags=re.DOTALL)
    text = re.sub(r' zeta="[^"]*"', "", text)
    text = re.sub(r"(<gpCoordinates[^>]*>)", r"\1<theta>2.0</theta>", text)
    text = re.sub(r' gap_version="\d+"', "", text)
    text = text.replace('init_args="IP GAP', 'init_args="IP GAP E_scale=0.7')
    path.write_text(text)
    frames = structures()
    model = load(path)
    assert_same(model, quippy(path, frames), frames)


def quip_model(baseline=None, **parameters) -> GAPRegressor:
    """Every kind of term that QUIP has."""
    soap = SOAP(4.0, 4, 3, 0.5, rbf=QuipBasis(central_weight=0.8), cutoff_width=0.9)
    terms = [
        ("pair", Term(TwoBody(4.5), RBF(0.8) + Constant(0.1), delta=1.5, n_sparse=8)),
        ("compact", Term(TwoBody(3.0), PiecewisePolynomial(2.0, dimension=1), delta=0.5, n_sparse=5)),
        ("triplet", Term(ThreeBody(3.4), RBF(0.7), delta=0.3, n_sparse=20, scale="range")),
        ("soap", Term(soap, DotProduct(3), delta=0.7, n_sparse=16)),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.05, 1e-2), random_state=0, baseline=baseline, **parameters)


@needs_quippy
def test_potentials_of_gapkit_run_in_quip(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        model = quip_model().fit(training())
    path, frames = tmp_path / "model.xml", structures()
    write_quip(to_quip(model), path)
    assert_same(model, quippy(path, frames), frames)
    # what gapkit wrote along brings everything back, bit for bit
    same = load(path)
    for ours, back in zip(*(m.evaluate(frames, uncertainty="exact") for m in (model, same)), strict=True):
        np.testing.assert_array_equal(ours.forces, back.forces)
        np.testing.assert_array_equal(ours.energies_std, back.energies_std)
    assert same.noise_.forces == 0.05
    # without it, only predictions
    write_quip(to_quip(model, posterior=False), path)
    lean = load(path)
    assert lean.potential_.posterior is None
    assert_same(lean, quippy(path, frames), frames)


@needs_quippy
def test_a_repulsion_becomes_a_glue(tmp_path):
    """Splines on spacings of 0.2 % of the distance miss 1e-11 of energies, and of slopes h³/24 of them times derivatives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        model = quip_model(baseline=ZBL()).fit(training())
    path = tmp_path / "model.xml"
    write_quip(to_quip(model, posterior=False), path)
    frames = structures()
    assert_same(model, quippy(path, frames), frames)  # far apart: the same as without
    for distance in (0.1, 0.5, 1.0, 1.6):
        close = Atoms("CuAu", [[0, 0, 0], [distance, 0.0, 0.0]], cell=[20, 20, 20])
        ours, theirs = model.evaluate([close])[0], quippy(path, [close])[0]
        assert ours.energy == pytest.approx(float(theirs.energy), abs=1e-10 * max(1.0, abs(ours.energy)))
        assert_allclose(ours.forces, theirs.forces, rtol=0, atol=2e-8 * np.abs(ours.forces).max())


def test_a_changed_file_is_not_taken_for_what_gapkit_wrote(tmp_path):
    model = GAPRegressor([Term(TwoBody(4.5), RBF(0.8), n_sparse=8)], random_state=0).fit(training())
    path = tmp_path / "model.xml"
    write_quip(to_quip(model), path)
    path.write_text(path.read_text().replace('alpha="', 'alpha="1', 1))
    with pytest.raises(ModelFormatError, match="was changed after gapkit wrote it"):
        load(path)


def glue_text() -> str:
    """Pair energies with every kind of end, as a file of Si has them."""
    knots = [(1.2, 13.5), (1.6, 6.0), (2.0, 1.0), (2.4, 0.1), (2.8, 0.0)]
    points = "".join(f'<point r="{r}" E="{e}"/>' for r, e in knots)
    types = "".join(
        f'<per_type_data atomic_num="{z}" type="{k}"><density num_points="3" density_y1="0.0" density_yn="0.0">'
        '<point a="0.5" rho="0.1"/><point a="1.0" rho="0.05"/><point a="2.0" rho="0.0"/></density>'
        '<potential_density num_points="3"><point rho="0.0" E="0.0"/><point rho="0.5" E="0.0"/><point rho="1.0" E="0.0"/>'
        "</potential_density></per_type_data>"
        for k, z in ((1, 29), (2, 79))
    )
    ends = {(1, 1): 'y1="-30.0" yn="0.0"', (1, 2): 'density_y1="1.0"', (2, 2): 'y1="1e30" yn="1e30"'}
    pairs = "".join(
        f'<per_pair_data type1="{a}" type2="{b}"><potential_pair num_points="5" {text}>{points}</potential_pair>'
        "</per_pair_data>"
        for (a, b), text in ends.items()
    )
    return f'<Glue_params n_types="2">{types}{pairs}</Glue_params>'


def with_core(path, core: str, text: str) -> None:
    xml = path.read_text()
    label = re.search(r'label="([^"]+)"', xml).group(1)
    xml = xml.replace(
        f'init_args="IP GAP label={label}"',
        f'init_args="Sum init_args_pot1={{{core}}} init_args_pot2={{IP GAP label={label}}}"',
    )
    xml = xml.replace('do_core="F"', 'do_core="T"').replace("<GAP_params", text + "\n<GAP_params", 1)
    path.write_text(xml)


@needs_quippy
def test_a_glue_core(tmp_path):
    path = gap_fit(tmp_path, training(), PAIR)
    with_core(path, "IP Glue", glue_text())
    frames = structures()
    close = copper_gold(3, pbc=False)
    close.positions[1] = close.positions[0] + [0.9, 0.2, 0.3]  # below the first knot
    frames.append(close)
    model = load(path)
    assert_same(model, quippy(path, frames), frames)
    write_quip(to_quip(model), tmp_path / "again.xml")
    assert_same(model, quippy(tmp_path / "again.xml", frames), frames)
    model.save(tmp_path / "model.gap")
    assert load(tmp_path / "model.gap").evaluate(frames)[0].energy == model.evaluate(frames)[0].energy


@needs_quippy
def test_other_cores_are_named(tmp_path):
    path = gap_fit(tmp_path, training(), PAIR)
    plain = load(path)
    with pytest.raises(BaselineError, match="`baseline` must be None"):
        load(path, baseline=EMT())
    with_core(path, "IP SW", "<SW_params/>")
    with pytest.raises(BaselineError, match="needs the potential 'IP SW' under"):
        load(path)
    frames = structures()[:2]
    both = load(path, baseline=EMT())
    for atoms, a, b in zip(frames, plain.evaluate(frames), both.evaluate(frames), strict=True):
        atoms.calc = EMT()
        assert b.energy == pytest.approx(a.energy + atoms.get_potential_energy(), abs=1e-10)


@needs_quippy
def test_a_core_that_is_not_named_is_left_out(tmp_path):
    path = gap_fit(tmp_path, training(), PAIR)
    path.write_text(path.read_text().replace('do_core="F"', 'do_core="T"'))
    with pytest.warns(NumericalWarning, match="do_core"):
        load(path)


@needs_quippy
def test_unknown_keys_and_species_are_said(tmp_path):
    path = gap_fit(tmp_path, training(), SOAP_TEXT)
    text = path.read_text()
    path.write_text(text.replace("soap l_max", "soap radial_scaling=-0.5 l_max"))
    with pytest.warns(NumericalWarning, match="does not know radial_scaling of soap"):
        model = load(path)
    with pytest.raises(InvalidStructureError, match="Species must be among"):
        model.evaluate([Atoms("Ni2", [[0, 0, 0], [2.2, 0, 0]])])
    path.write_text(text.replace("soap l_max", "bispectrum_so4 l_max"))
    with pytest.raises(ModelFormatError, match="got 'bispectrum_so4'"):
        load(path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GAPRegressor([Term(SOAP(4.0, 3, 2), DotProduct(2), n_sparse=5)]), "QUIP has no SOAP with rbf='gto'"),
        (GAPRegressor([Term(TwoBody(4.0), RBF(0.5), n_sparse=5)], baseline=EMT()), "QUIP has no EMT under a GAP"),
        (GAPRegressor([Term(TwoBody(4.0), RBF(0.5) * RBF(2.0), n_sparse=5)]), "QUIP has no kernel"),
    ],
    ids=["basis", "baseline", "kernel"],
)
def test_what_quip_does_not_have(model, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # dependent sparse points
        model.fit(training())
    with pytest.raises(ValueError, match=re.escape(message)):
        to_quip(model)


@needs_quippy
def test_commands_take_xml(tmp_path, capsys):
    from typer.testing import CliRunner

    from gapkit.cli.main import app

    path = gap_fit(tmp_path, training(), SOAP_TEXT, "sparse_separate_file=T")
    run = CliRunner().invoke
    shown = run(app, ["show", str(path), "--json"])
    assert json.loads(shown.stdout)["species"] == ["Cu", "Au"]
    test = tmp_path / "test.xyz"
    from ase.io import write

    write(test, [labelled(a) for a in structures()[:2]])
    assert run(app, ["evaluate", str(path), str(test), "-o", str(tmp_path / "out.xyz")]).exit_code == 0
    assert read(tmp_path / "out.xyz", 0).info["gapkit_energy"] == pytest.approx(load(path).evaluate(structures())[0].energy)
    assert run(app, ["export", str(path), str(tmp_path / "model.gap")]).exit_code == 0
    exported = run(app, ["export", str(tmp_path / "model.gap"), str(tmp_path / "model.xml")])
    assert "pair_style quip" in exported.stdout
    assert run(app, ["export", str(path), str(tmp_path / "model.txt")]).exit_code != 0
    atoms = structures()[0]
    atoms.calc = GAPCalculator(load(tmp_path / "model.xml"))
    assert_allclose(atoms.get_forces(), load(path).evaluate([atoms])[0].forces, rtol=0, atol=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize(("folder", "name"), [("gap_fit_si", "si"), ("gap_fit_cuau", "cuau")])
def test_stored_predictions_of_gap_fit_models(shared_data, folder, name):
    found = np.load(shared_data / "quip_models" / folder / f"predictions_{name}.npz")
    model = load(shared_data / "quip_models" / folder / f"gap_{name}.xml")
    atol = rounding(model)
    for k in range(int(found["n_frames"])):
        atoms = Atoms(found[f"{k}_numbers"], positions=found[f"{k}_positions"], cell=found[f"{k}_cell"], pbc=found[f"{k}_pbc"])
        ours = model.evaluate([atoms])[0]
        assert_allclose(ours.energies, found[f"{k}_local_energy"], rtol=0, atol=atol)
        assert_allclose(ours.energy, found[f"{k}_energy"], rtol=0, atol=atol * len(atoms))
        assert_allclose(ours.forces, found[f"{k}_forces"], rtol=0, atol=2 * atol)


@pytest.mark.reference
def test_the_example_of_lammps(shared_data):
    """Energy and pressure are published; the rest is quippy's.  Coefficients are up to 1e6 eV: 1e-15 of their sum is 2e-8."""
    folder = shared_data / "quip_models" / "lammps_example_Si"
    found, model = np.load(folder / "quippy_reference.npz"), load(folder / "gap_example.xml")
    atoms = Atoms(found["numbers"], positions=found["positions"], cell=found["cell"], pbc=True)
    ours = model.evaluate([atoms])[0]
    atol = rounding(model)
    assert ours.energy == pytest.approx(-10412.677456950227, abs=64 * atol)
    assert_allclose(ours.energies, found["local_energy"], rtol=0, atol=atol)
    assert_allclose(ours.forces, found["forces"], rtol=0, atol=2 * atol)


@pytest.mark.reference
@pytest.mark.parametrize("element", ["Cu", "Al"])
def test_published_nanocluster_potentials(shared_data, element):
    folder = shared_data / "quip_models" / f"nanocluster_{element}"
    with pytest.warns(NumericalWarning, match="radial_scaling"):
        model = load(folder / f"{element}_gap.xml")
    frames = [a for a in read(folder / f"{element}_gap_QCD_relaxed.xyz", ":") if a.calc is not None]
    for atoms, ours in zip(frames, model.evaluate(frames), strict=True):
        assert ours.energy == pytest.approx(atoms.get_potential_energy(), abs=len(atoms) * rounding(model))
        assert_allclose(ours.forces, atoms.get_forces(), rtol=0, atol=1e-7)  # the file has 8 digits
