"""gap_fit in reverse: what a command becomes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from gapkit import from_gap_fit
from gapkit.exceptions import (
    ConfigError,
    InvalidLabelError,
    InvalidStructureError,
    LabelWarning,
    ModelFormatError,
    NumericalWarning,
)
from tests.quip_oracle import needs_quippy
from tests.reference.gap_fit import (
    PAIR,
    SIGMA,
    SOAP,
    TRIPLET,
    TYPES,
    aperiodic,
    command,
    glue,
    isolated,
    labelled,
    run,
    structures,
    with_types,
)


def written(folder, frames=None) -> None:
    write(folder / "train.xyz", labelled(structures()) if frames is None else frames, format="extxyz")


def job(folder, *options: str, gap: str = PAIR, sigma: str = SIGMA, **parameters):
    return from_gap_fit(command("e0=0", "at_file=train.xyz", *options, gap=gap, sigma=sigma), folder, **parameters)


def test_the_estimator_says_what_was_asked(tmp_path):
    written(tmp_path, isolated() + with_types())
    found = from_gap_fit(command("at_file=train.xyz", TYPES, gap=f"{PAIR} : {SOAP}"), tmp_path)
    model = found.model
    assert (model.jitter, model.random_state, model.e0.keys()) == (1e-8, 3, {"Cu", "Au"})
    assert (model.noise.energy, model.noise.forces) == (0.001, 0.05)
    assert (model.noise.per_config_type["Liquid"].energy, model.noise.per_config_type["Liquid"].forces) == (0.003, 0.3)
    liquid = next(atoms for atoms in found.frames if atoms.info.get("config_type") == "Liquid")
    assert model.noise.per_config_type["Liquid"].stress == pytest.approx(0.3 * 2 / liquid.get_volume())  # 4 atoms
    (_, pair), (_, soap) = model.named_terms()
    assert (pair.selection, pair.scale, pair.n_sparse) == ("uniform", "range", {"Cu-Cu": 6, "Cu-Au": 6, "Au-Au": 6})
    assert (soap.selection, soap.scale, soap.descriptor.rbf.species_Z) == ("cur", None, (29, 79))
    assert found.keys == {"energy": {"energy": 6}, "forces": {"force": 4}, "stress": {"virial": 4}}
    assert found.output == tmp_path / "gap_new.xml"
    assert found.chosen == ["distance_2b (uniform)", "soap (cur_points)"]
    assert model.fit(found.frames).n_labels_ == {"energy": 6, "forces": 48, "stress": 24}


def test_other_structures(tmp_path):
    written(tmp_path)
    write(tmp_path / "others.xyz", labelled(structures(2)), format="extxyz")
    assert len(job(tmp_path, train="others.xyz").frames) == 2
    assert len(job(tmp_path, train=tmp_path / "others.xyz").frames) == 2


@pytest.mark.parametrize(
    ("method", "selection"),
    [("random", "random"), ("kmeans", "kmeans"), ("uniform", "uniform"), ("cur_points", "cur"), ("CUR_points", "cur")],
)
def test_methods(tmp_path, method, selection):
    written(tmp_path)
    ((_, term),) = job(tmp_path, gap=PAIR.replace("=uniform", f"={method}")).model.named_terms()
    assert term.selection == selection


@pytest.mark.parametrize(
    ("method", "selection"),
    [
        ("pivot", "cholesky"),
        ("covariance", "cholesky"),
        ("cluster", "kmeans"),
        ("fuzzy", "kmeans"),
        ("cur_covariance", "leverage"),
    ],
)
def test_methods_that_have_a_likeness(tmp_path, method, selection):
    written(tmp_path)
    with pytest.warns(NumericalWarning, match=f"no sparse_method {method}; the nearest, selection='{selection}'"):
        ((_, term),) = job(tmp_path, gap=PAIR.replace("=uniform", f"={method}")).model.named_terms()
    assert term.selection == selection


def test_kinds_of_environments_that_do_not_occur(tmp_path):
    """gap_fit stops there ("Descriptor is too large"); here they have no sparse points."""
    written(tmp_path)
    gap = PAIR.replace("cutoff=4.0", "cutoff=2.39").replace("=uniform", "=none").replace("theta_fac=0.5", "theta_uniform=0.1")
    found = job(tmp_path, gap=gap)
    ((_, term),) = found.model.named_terms()
    none = [name for name, points in term.selection.items() if not len(points)]
    assert 0 < len(none) < 3
    assert set(term.n_sparse) == set(term.selection) - set(none)
    assert found.model.fit(found.frames).n_sparse_ == sum(term.n_sparse.values())


def test_frames_without_periodicity_are_counted(tmp_path):
    written(tmp_path, aperiodic())
    with pytest.warns(LabelWarning, match="1 of 3 frames say that they are not periodic; gap_fit takes every frame for"):
        found = job(tmp_path)
    assert all(atoms.pbc.all() for atoms in found.frames)


def test_unknown_keys_are_named(tmp_path):
    written(tmp_path)
    with pytest.warns(NumericalWarning, match="no option 'sparse_jiter'; it is ignored. Did you mean 'sparse_jitter'"):
        job(tmp_path, "sparse_jiter=1e-3")
    with pytest.warns(NumericalWarning, match="QUIP does not know radial_decay of soap"):
        job(tmp_path, gap=SOAP + " radial_decay=-0.5")


def without_cell() -> list[Atoms]:
    frames = labelled(structures(), virial=None)
    frames[1].cell[:] = 0.0
    frames[1].pbc = False
    return frames


def with_(key: str, value) -> list[Atoms]:
    frames = labelled(structures())
    (frames[1].arrays if np.ndim(value) else frames[1].info)[key] = value
    return frames


@pytest.mark.parametrize(
    ("frames", "options", "error", "message"),
    [
        (
            None,
            ("energy_parameter_name=E",),
            InvalidLabelError,
            "must be a key of .* got 'E', which no frame has",
        ),
        (with_("energy_sigma", 0.0), (), InvalidLabelError, "`energy_sigma` must be above 0"),
        (with_("v", 3.0), ("virial_parameter_name=v",), InvalidLabelError, "`v` must be 9 numbers; got 1 in frame 1 of"),
        (
            with_("local_property", np.ones(4)),
            (),
            InvalidLabelError,
            "does not fit local properties; got 'local_property'",
        ),
        (with_("n_hessian", 1), (), InvalidLabelError, "does not fit Hessians; got 'n_hessian' in frame 1"),
        (without_cell(), (), InvalidStructureError, "must have a Lattice; there is none in frame 1"),
        (None, ("core_ip_args={IP ZBL}",), ConfigError, "`core_ip_args` must be IP Glue; got 'IP ZBL'.*set_params"),
        (None, ("core_ip_args={IP Glue}",), FileNotFoundError, "quip_params.xml"),
        (None, ("core_ip_args={IP Glue}", "core_param_file=embedded.xml"), ConfigError, "embedded.xml has embedding energies"),
        (None, ("core_ip_args={IP Glue}", "core_param_file=train.xyz"), ModelFormatError, "must be complete XML"),
        (None, ("at_file=none.xyz",), FileNotFoundError, "training structures must exist; there is no .*none.xyz"),
    ],
)
def test_bad_structures(tmp_path, frames, options, error, message):
    written(tmp_path, frames)
    (tmp_path / "embedded.xml").write_text(glue(1.0))
    with pytest.raises(error, match=message):
        job(tmp_path, *options)


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ("default_sigma={0.0 0.05 0.05 0.0}", "`energy_sigma` must be above 0 .*; got 0.0. It is the one of frame 0"),
        ("default_sigma={0.001 0.05 0.0 0.0}", "`virial_sigma` must be above 0 where there is such a label; got 0.0"),
    ],
)
def test_noise_of_nothing(tmp_path, sigma, message):
    written(tmp_path)
    with pytest.raises(InvalidLabelError, match=message):
        job(tmp_path, sigma=sigma)
    written(tmp_path, labelled(structures(), energy=None, virial=None))
    noise = job(tmp_path, sigma="default_sigma={0.0 0.05 0.0 0.0}").model.noise
    assert (noise.energy, noise.forces, noise.stress) == (1e-3, 0.05, 1e-2)  # there is no such label


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (isolated()[:1] + labelled(structures()), "needs a frame with one isolated atom .* there is none for Au"),
        (isolated() + isolated()[1:] + labelled(structures()), "needs one isolated atom of Au; frame 2 is another"),
    ],
)
def test_atomic_energies_that_are_missing_or_contradict(tmp_path, frames, message):
    written(tmp_path, frames)
    with pytest.raises(InvalidLabelError, match=message):
        from_gap_fit(command("at_file=train.xyz"), tmp_path)


@pytest.mark.parametrize(
    ("gap", "error", "message"),
    [
        (PAIR + " add_species=F", ConfigError, "add_species=F must come with the species of one kind of environments; got 3"),
        (SOAP + " add_species=F", ConfigError, "add_species=F must come with the species of one kind of environments; got 2"),
        (PAIR + " add_species=F Z1=14 Z2=29", ConfigError, "must be in the training structures; got Si"),
        (PAIR + " config_type_n_sparse={{bulk:5}}", ConfigError, "does not choose sparse points within configuration types"),
        (TRIPLET.replace("fac=0.7", "fac={{0.7 0.6}}"), ConfigError, "`theta_fac` must be one number or 3; got 2"),
        (TRIPLET.replace("fac=0.7", "file=two.dat"), ConfigError, "two.dat must hold 3 numbers above 0"),
        (PAIR.replace("=uniform", "=index_file sparse_file=two.dat"), ConfigError, "in the order of QUIP's neighbour lists"),
        (PAIR.replace("=uniform", "=file sparse_file=three.dat"), ConfigError, "three.dat must hold the cutoff and 1 features"),
        (PAIR.replace("=uniform", "=file sparse_file=none.dat"), FileNotFoundError, "there is no .*none.dat"),
        (PAIR.replace("=uniform", "=file sparse_file=text.dat"), ConfigError, "text.dat must hold numbers"),
        (SOAP.replace("=cur_points", "=index_file sparse_file=zero.dat"), ConfigError, "must hold indices from 1 on"),
        (PAIR.replace("distance_2b", "coordination"), ModelFormatError, "got 'coordination'"),
        (PAIR.replace("cutoff=4.0", "cut=4.0"), ModelFormatError, "must hold 'cutoff'; missing"),
    ],
)
@pytest.mark.filterwarnings("ignore:QUIP does not know cut")
def test_bad_descriptors(tmp_path, gap, error, message):
    written(tmp_path)
    for name, text in (("two.dat", "1.0 2.0"), ("three.dat", "1 2 3"), ("zero.dat", "0\n1\n"), ("text.dat", "one")):
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        job(tmp_path, gap=gap)


@needs_quippy
def test_points_of_another_model(tmp_path):
    run(tmp_path, labelled(structures()), command("e0=0"))
    for gap, message in (
        (PAIR.replace("1.2", "1.3"), "must be made by this command; its descriptor 1 is .* with delta 1.2, not"),
        (PAIR.replace("4.0", "4.1"), "must be made by this command; its descriptor 1 is"),
        (f"{PAIR} : {TRIPLET}", "it has no descriptor 4, a angle_3b"),
        (f"{PAIR} add_species=F Z1=29 Z2=29", "its descriptors from number 2 on are not in it"),
    ):
        with pytest.raises(ConfigError, match=message):
            job(tmp_path, gap=gap, points_from="gap.xml")
    # any way of choosing is fine where the choice is given
    gap = PAIR + " config_type_n_sparse={{bulk:5}}"
    assert job(tmp_path, gap=gap, points_from="gap.xml").model.terms[0].n_sparse == {"Cu-Cu": 6, "Cu-Au": 6, "Au-Au": 6}
