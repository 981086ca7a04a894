"""QUIP's SOAP through quippy: values in QUIP's order, and derivatives, for every option."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, QuipBasis, Term, load
from gapkit.gp.observations import forces_and_stresses
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold, labelled

# extra text for QUIP, the same for gapkit
OPTIONS: list[tuple[str, dict]] = [
    ("", {}),
    ("central_weight=0.3", {"central_weight": 0.3}),
    ("central_reference_all_species=T", {"central_reference_all_species": True}),
    ("central_weight=0.0 basis_error_exponent=6", {"central_weight": 0.0, "basis_error_exponent": 6.0}),
    ("cutoff_dexp=4 cutoff_scale=2.0 cutoff_rate=1.0", {"cutoff_dexp": 4, "cutoff_scale": 2.0}),
    ("cutoff_dexp=2 cutoff_scale=1.5 cutoff_rate=0.5", {"cutoff_dexp": 2, "cutoff_scale": 1.5, "cutoff_rate": 0.5}),
    ("cutoff_dexp=3 cutoff_scale=2.5 cutoff_rate=0.0", {"cutoff_dexp": 3, "cutoff_scale": 2.5, "cutoff_rate": 0.0}),
    ("covariance_sigma0=0.2", {"covariance_sigma0": 0.2}),
    ("diagonal_radial=T", {"diagonal_radial": True}),
    ("radial_basis=POLY", {"radial_basis": "POLY"}),
    ("radial_basis=GTO", {"radial_basis": "GTO"}),
    *((f"nu_R={r} nu_S={s}", {"nu_R": r, "nu_S": s}) for r in range(3) for s in range(3) if (r, s) != (2, 2)),
    ("Z_map={29 , 79}", {"Z_map": [[[29], [79]]]}),
    ("Z_map={29 79}", {"Z_map": [[[29, 79]]]}),
    ("Z_map={29 , 79 : 29 79}", {"Z_map": [[[29], [79]], [[29, 79]]]}),
    *(
        (
            f"R_mix={r} Z_mix={z} sym_mix={sym} coupling={coupling} K=5 mix_shift=3",
            {"R_mix": r == "T", "Z_mix": z == "T", "sym_mix": sym == "T", "coupling": coupling == "T", "K": 5, "mix_shift": 3},
        )
        for r, z in (("T", "T"), ("T", "F"), ("F", "T"))
        for sym in "TF"
        for coupling in "TF"
    ),
]


def quip(text: str, atoms: Atoms, z: int, *, normalise: bool = True, grad: bool = False):
    quippy = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    common = "soap cutoff=4.2 cutoff_transition_width=0.7 n_max=4 l_max=3 atom_sigma=0.45"
    species = "n_species=2 species_Z={29 79}"
    flag = "T" if normalise else "F"
    return quippy.Descriptor(f"{common} normalise={flag} Z={z} {species} {text}").calc(atoms, grad=grad)


def ours(options: dict, *, normalize: bool = True) -> SOAP:
    return SOAP(4.2, 4, 3, 0.45, rbf=QuipBasis(**options), cutoff_width=0.7, normalize=normalize)


@pytest.fixture(scope="module")
def structures() -> list[Atoms]:
    frames = [copper_gold(0), copper_gold(2, n=8)]  # periodic in two directions, all smaller than the cutoff
    return frames


@pytest.mark.parametrize(("text", "options"), OPTIONS, ids=[text or "default" for text, _ in OPTIONS])
def test_values_equal_quip(text, options, structures):
    descriptor = ours(options).fit(structures)
    for atoms in structures:
        values = descriptor.transform([atoms])
        for z in (29, 79):
            theirs = quip(text, atoms, z)["data"]
            # 1e-11: the table of the radial functions, whose transformation amplifies rounding
            assert_allclose(values[atoms.numbers == z], theirs, rtol=0, atol=1e-11)


def test_values_without_normalisation(structures):
    atoms = structures[0]
    theirs = quip("", atoms, 29, normalise=False)["data"]
    values = ours({}, normalize=False).fit([atoms]).transform([atoms])[atoms.numbers == 29]
    assert_allclose(values, theirs, rtol=0, atol=1e-11 * np.abs(theirs).max())


def test_one_density_for_all_species(structures):
    atoms = structures[0]
    quippy = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    text = "soap cutoff=4.2 cutoff_transition_width=0.7 n_max=4 l_max=3 atom_sigma=0.45 Z=29 n_species=1 species_Z={0}"
    values = ours({"species_Z": (0,)}).fit([atoms]).transform([atoms])
    assert_allclose(values[atoms.numbers == 29], quippy.Descriptor(text).calc(atoms)["data"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("species", [(79, 29), (79,), (29,)], ids=["order", "gold", "copper"])
def test_species_are_ordered_and_invisible_as_in_quip(structures, species):
    atoms = structures[0]
    quippy = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    common = "soap cutoff=4.2 cutoff_transition_width=0.7 n_max=4 l_max=3 atom_sigma=0.45"
    listed = f"n_species={len(species)} species_Z={{{' '.join(map(str, species))}}}"
    central = len(species) == 1  # QUIP's default
    values = ours({"species_Z": species, "central_reference_all_species": central}).fit([atoms]).transform([atoms])
    for z in (29, 79):
        theirs = quippy.Descriptor(f"{common} Z={z} {listed}").calc(atoms)["data"]
        assert_allclose(values[atoms.numbers == z], theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"cutoff_dexp": 4, "covariance_sigma0": 0.1}], ids=["default", "decay"])
def test_derivatives_equal_quip(options, structures):
    atoms = structures[0]
    text = " ".join(f"{k}={v}" for k, v in options.items())
    descriptor = ours(options).fit([atoms])
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
    features = descriptor.compute(neighbors)
    direction = np.random.default_rng(0).standard_normal(descriptor.n_features)
    theirs = np.zeros((len(atoms), 3))
    for z in (29, 79):
        found = quip(text, atoms, z, grad=True)
        np.add.at(theirs, found["grad_index_0based"][:, 1], -found["grad_data"] @ direction)
    pulled = descriptor.pullback(features, np.tile(direction, (len(atoms), 1)))
    assert_allclose(forces_and_stresses(neighbors, pulled)[0], theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


def test_a_model_with_it_survives_a_file(tmp_path):
    frames = [labelled(copper_gold(seed)) for seed in range(4)]
    terms = [Term(ours({"central_weight": 0.5}), DotProduct(2), n_sparse=12)]
    model = GAPRegressor(terms, random_state=0).fit(frames)
    model.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    np.testing.assert_array_equal(read.evaluate(frames)[0].forces, model.evaluate(frames)[0].forces)
    assert read.named_terms()[0][1].descriptor.rbf.central_weight == 0.5


@pytest.mark.parametrize(
    ("descriptor", "message"),
    [
        (SOAP(rbf=QuipBasis(), cutoff_width=None), "`cutoff_width` must be a number with QuipBasis"),
        (SOAP(rbf=QuipBasis(), compression={"mode": "mu2"}), "`compression` must be None with QuipBasis"),
        (SOAP(rbf=QuipBasis(R_mix=True)), "`K` must be"),
        (SOAP(rbf=QuipBasis(nu_R=3)), "`nu_R` must be"),
        (SOAP(rbf=QuipBasis(nu_R=1, Z_mix=True, K=2)), "given one of mixtures"),
        (SOAP(rbf=QuipBasis(radial_basis="BESSEL")), "`radial_basis` must be one of"),
    ],
)
def test_bad_input(descriptor, message):
    with pytest.raises(ValueError, match=message):
        descriptor.fit([bulk("Cu")])


def test_averages_are_refused_in_a_model():
    with pytest.raises(ValueError, match="`average` must be 'off' in a model"):
        GAPRegressor([Term(SOAP(average="inner"), RBF())]).fit([labelled(copper_gold(0))])
