"""gap_fit in reverse: with its sparse points, gapkit has its rows, its noise and its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.testing import assert_allclose

from gapkit import from_gap_fit, load
from gapkit.interop.quip_xml import read_quip
from tests.quip_oracle import needs_quippy, quippy
from tests.reference.gap_fit import (
    PAIR,
    SOAP,
    TRIPLET,
    TYPES,
    aperiodic,
    command,
    dumped,
    glue,
    isolated,
    labelled,
    run,
    structures,
    system_of,
    with_types,
)


def check(folder, frames, options: str, *, points_from: str | None = "gap.xml") -> None:
    """Fit with gap_fit and with gapkit, and compare everything.

    Predictions to 1e-6 and only where there are labels: gap_fit's coefficients are as good as the condition number lets them.
    """
    theirs = run(folder, frames, options)
    quip = read_quip(folder / "gap.xml")
    job = from_gap_fit(f"{options} at_file=train.xyz gp_file=gap.xml", folder, points_from=points_from)
    job.model.fit(job.frames)
    compare(system_of(job.model, quip), theirs)
    assert job.output == folder / "gap.xml"
    assert job.model.potential_.e0 == {z: pytest.approx(quip.e0[z], abs=1e-12) for z in job.model.potential_.e0}
    for p, q, atoms in zip(job.model.evaluate(job.frames), quippy(folder / "gap.xml", job.frames), job.frames, strict=True):
        virial = -atoms.get_volume() * voigt_6_to_full_3x3_stress(p.stress)
        pairs = {"energy": (p.energy, q.energy), "forces": (p.forces, q.forces), "stress": (virial, q.virial)}
        for kind in atoms.calc.results:
            assert_allclose(*pairs[kind], rtol=0, atol=1e-6)


def compare(ours, theirs, *, row_by_row: bool = False, derivatives: float = 1e-10) -> None:
    """Rows to 1e-10, which is what the table of the radial functions leaves (pairs and triplets: 1e-13).

    Of the largest element of the row, or of all rows of its kind: in cells of few atoms forces nearly cancel.
    """
    assert ours.rows.shape == theirs.rows.shape
    largest = np.abs(theirs.rows).max(axis=1)
    if not row_by_row:
        largest = np.array([largest[ours.kinds == kind].max() for kind in ours.kinds])
    tolerance = largest * np.where(ours.kinds == "energy", 1e-10, derivatives)
    assert (np.abs(ours.rows - theirs.rows) <= tolerance[:, None]).all()
    assert_allclose(ours.variances, theirs.variances, rtol=1e-14)  # stresses are virials over volumes: two roundings
    assert_allclose(ours.targets, theirs.targets, rtol=0, atol=1e-14 * np.abs(theirs.targets).max())
    assert_allclose(ours.prior, theirs.prior, rtol=0, atol=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["si", "cuau"])
def test_stored_fits(shared_data, name):
    """Made by gap_fit of quippy-ase 0.10.3: pairs, triplets and soap, one species and two."""
    folder = shared_data / "quip_models" / f"gap_fit_{name}"
    text = (folder / "command.txt").read_text()
    job = from_gap_fit(text, folder, points_from=f"gap_{name}.xml")
    job.model.fit(job.frames)
    compare(system_of(job.model, read_quip(folder / f"gap_{name}.xml")), dumped(folder, "lsq"), row_by_row=True)
    for p, q in zip(job.model.evaluate(job.frames), load(folder / f"gap_{name}.xml").evaluate(job.frames), strict=True):
        assert_allclose(p.energy, q.energy, rtol=0, atol=1e-6)
        assert_allclose(p.forces, q.forces, rtol=0, atol=1e-6)
    assert job.chosen == []
    assert from_gap_fit(text, folder).chosen == ["distance_2b (uniform)", "angle_3b (uniform)", "soap (cur_points)"]


@needs_quippy
@pytest.mark.parametrize("species", [("Cu",), ("Cu", "Au")], ids=["one", "two"])
def test_pairs_triplets_and_soap(tmp_path, species):
    alone = [atoms for atoms in isolated() if atoms.symbols[0] in species]
    check(tmp_path, alone + labelled(structures(4, species)), command(gap=f"{PAIR} : {TRIPLET} : {SOAP}"))


DESCRIPTORS = {
    "decay": SOAP + " cutoff_dexp=2 cutoff_scale=3.0 cutoff_rate=0.5 central_weight=0.8",
    "compressed": SOAP + " nu_R=1 nu_S=1",
    "one species of soap": SOAP + " add_species=F Z=29 n_species=2 species_Z={{29 79}}",
    "one kind of pairs": f"{PAIR} add_species=F Z1=79 Z2=29 ; {PAIR} add_species=F Z1=29 Z2=29",
    "triplets": f"{TRIPLET} add_species=F Z_center=79 Z1=29 Z2=79",
    "other delta": f"{PAIR} : {PAIR.replace('1.2', '0.4').replace('theta_fac=0.5', 'lengthscale_uniform=0.4')}",
    "offset": PAIR + " f0=0.3",
    "compact": PAIR.replace("ard_se", "PP"),
    "factors": TRIPLET.replace("0.7", "{{0.5 0.6 0.7}}"),
    "single braces": TRIPLET.replace("0.7", "{0.5 0.6 0.7}"),
}


@needs_quippy
@pytest.mark.filterwarnings("ignore:gap_fit takes one pair of braces off")
@pytest.mark.parametrize("gap", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_descriptors_and_kernels(tmp_path, gap):
    check(tmp_path, labelled(structures()), command("e0=0.5", gap=gap))


TURBO = "soap_turbo l_max=3 alpha_max={{4 3}} atom_sigma_r={{0.4 0.4}} atom_sigma_t={{0.4 0.4}} rcut_hard=4.0 rcut_soft=3.5 "
TURBO += "atom_sigma_r_scaling={{0.1 0.1}} atom_sigma_t_scaling={{0.05 0.05}} amplitude_scaling={{1.0 1.0}} basis=poly3gauss "
TURBO += "central_weight={{0.7 0.8}} covariance_type=dot_product zeta=2 delta=0.7 n_sparse=6 sparse_method=cur_points "
TURBO += "n_species=2 species_Z={{29 79}}"


@needs_quippy
@pytest.mark.parametrize("added", [True, False])
def test_soap_turbo(tmp_path, added):
    """QUIP's forces are not quite the derivatives of its energies: 5e-7 of the largest, and virials times distances."""
    gap = TURBO if added else f"{TURBO} add_species=F central_index=2 : {TURBO} add_species=F central_index=1"
    options = command("e0=0.5", gap=gap)
    theirs = run(tmp_path, labelled(structures()), options)
    job = from_gap_fit(f"{options} at_file=train.xyz", tmp_path, points_from="gap.xml")
    job.model.fit(job.frames)
    compare(system_of(job.model, read_quip(tmp_path / "gap.xml")), theirs, derivatives=1e-6)


@needs_quippy
@pytest.mark.parametrize("gap", [PAIR, TRIPLET], ids=["pairs", "triplets"])
def test_length_scales_without_the_xml(tmp_path, gap):
    """theta_fac times the range of all environments, those next to the cutoff included."""
    frames = labelled(structures())
    run(tmp_path, frames, command("e0=0", gap=gap))
    job = from_gap_fit(command("e0=0", "at_file=train.xyz", gap=gap), tmp_path)
    (sparse,) = job.model.fit(job.frames).potential_.terms
    given = from_gap_fit(command("e0=0", "at_file=train.xyz", gap=gap), tmp_path, points_from="gap.xml")
    (theirs,) = given.model.fit(given.frames).potential_.terms
    for scale, theta in zip(sparse.scales, theirs.scales, strict=True):
        assert_allclose(sparse.kernel.length_scale * scale, theta, rtol=1e-12)


def with_sigmas(stem: str = "sigma") -> list[Atoms]:
    """Noise of frames, atoms and components."""
    first, second, third, fourth = frames = labelled(structures(4))
    first.info |= {f"energy_{stem}": 0.5, f"force_{stem}": 0.7, f"virial_{stem}": 0.9}
    second.arrays[f"force_atom_{stem}"] = np.array([0.1, 0.2, 0.3, 0.4])
    second.info[f"virial_component_{stem}"] = np.arange(1.0, 10.0)
    third.arrays[f"force_component_{stem}"] = np.arange(1.0, 13.0).reshape(4, 3)
    third.arrays[f"force_atom_{stem}"] = np.array([0.1, 0.2, 0.3, 0.4])
    fourth.arrays["force_mask"] = np.array([True, False, True, False])
    fourth.info |= {f"virial_{stem}": 0.9, f"virial_component_{stem}": np.arange(1.0, 10.0)}
    if stem != "sigma":  # not asked for
        fourth.info["energy_sigma"], fourth.info["stress_sigma"] = 7.0, 8.0
    return frames


def with_stress(n: int, virial: str | None = None) -> list[Atoms]:
    frames = labelled(structures(), virial=virial)
    for atoms in frames:
        atoms.info["stress"] = 0.01 * np.array(
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] if n == 6 else [1.0, 6.0, 5.0, 6.0, 2.0, 4.0, 5.0, 4.0, 3.0]
        )
    return frames


def without_some() -> list[Atoms]:
    first, second, third = frames = labelled(structures())
    del first.info["energy"], second.arrays["force"], third.info["virial"]
    return frames


def with_prefix() -> list[Atoms]:
    frames = labelled(structures(), energy="pre_energy", force="pre_force", virial="pre_virial")
    for atoms in frames:
        atoms.info |= {"energy_pre_sigma": 0.6, "energy_sigma": 0.7, "pre_config_type": "x", "config_type": "y"}
    return frames


CASES = {
    "sigmas of frames": (with_sigmas(), ("e0=0",)),
    "sigmas under another name": (with_sigmas("reg"), ("e0=0", "sigma_parameter_name=reg")),
    "sigmas of types": (with_types(), ("e0=0", TYPES)),
    "another key of types": (with_types("kind"), ("e0=0", TYPES, "config_type_parameter_name=kind")),
    "types are case sensitive": (with_types(), ("e0=0", TYPES.lower())),
    "default type": (with_types(), ("e0=0", TYPES.replace("Liquid", "default"))),
    "sigmas of totals": (with_types(), ("e0=0", TYPES, "sigma_per_atom=F")),
    "prefix": (with_prefix(), ("e0=0", "parameter_name_prefix=pre_", "config_type_sigma={x:1:2:3:0:y:4:5:6:0}")),
    "stress that nobody asked for": (with_stress(6), ("e0=0",)),
    "stress as a matrix": (with_stress(9), ("e0=0",)),
    "virial before stress": (with_stress(6, virial="virial"), ("e0=0",)),
    "missing labels": (without_some(), ("e0=0",)),
    "all frames are periodic": (aperiodic(), ("e0=0",)),
    "energies of one species": (labelled(structures()), ("e0={Cu:1.5}",)),
    "energies with an offset": (labelled(structures()), ("e0={Cu:1.5:Au:-2.5E-1}", "e0_offset=0.25")),
    "average": (isolated() + without_some(), ("e0_method=average", "e0_offset=-0.1")),
    "given before isolated": (isolated() + labelled(structures()), ("e0=1.0", "e0_method=isolated")),
    "isolated": (isolated() + labelled(structures()), ("e0_offset=0.5",)),
}


@needs_quippy
@pytest.mark.filterwarnings("ignore:Of . frames, . have no energy", "ignore:1 of 3 frames say that they are not periodic")
@pytest.mark.parametrize(("frames", "options"), CASES.values(), ids=CASES)
def test_labels_noise_and_atomic_energies(tmp_path, frames, options):
    check(tmp_path, frames, command(*options))


@needs_quippy
@pytest.mark.parametrize("method", ["isolated", "average"])
def test_core(tmp_path, method):
    (tmp_path / "core.xml").write_text(glue())
    options = command(f"e0_method={method}", "core_ip_args={IP Glue}", "core_param_file=core.xml")
    check(tmp_path, isolated() + labelled(structures()), options)


@needs_quippy
@pytest.mark.parametrize("gap", [PAIR, TRIPLET, SOAP.replace("cur_points", "none")], ids=["pairs", "triplets", "soap"])
def test_all_environments(tmp_path, gap):
    """sparse_method=none leaves nothing to chance: the same model without the XML."""
    gap = gap.replace("sparse_method=uniform", "sparse_method=none")
    check(tmp_path, labelled(structures(2)), command("e0=0", gap=gap), points_from=None)


@needs_quippy
def test_points_and_length_scales_from_files(tmp_path):
    (tmp_path / "points.dat").write_text("0.5\n2.5\n1.0\n2.8\n1.0\n3.0\n")
    (tmp_path / "theta.dat").write_text("0.45\n")
    gap = PAIR.replace("uniform", "file").replace("n_sparse=6", "sparse_file=points.dat").replace("fac=0.5", "file=theta.dat")
    check(tmp_path, labelled(structures(3, ("Cu",))), command("e0=0", gap=gap + " n_sparse=3"), points_from=None)


@needs_quippy
def test_indices_from_a_file(tmp_path):
    """gap_fit writes the indices of its choice; read again they stand for the same atoms, for each species its own."""
    of_each = [
        f"{SOAP} add_species=F Z={z} n_species=2 species_Z={{{{79 29}}}}".replace("n_sparse=6", "n_sparse=4") for z in (29, 79)
    ]
    frames = labelled(structures(3))
    run(tmp_path, frames, command("e0=0", gap=" : ".join(f"{one} print_sparse_index=chosen" for one in of_each)))
    for name, line in zip("ab", (tmp_path / "chosen").read_text().splitlines(), strict=True):
        (tmp_path / name).write_text("\n".join(line.split()) + "\n")
    gap = " : ".join(
        one.replace("cur_points", f"index_file sparse_file={name}") for one, name in zip(of_each, "ab", strict=True)
    )
    check(tmp_path, frames, command("e0=0", gap=gap), points_from=None)
