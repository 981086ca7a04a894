"""QUIP's soap_turbo through quippy: values in QUIP's order, and derivatives, for every option."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Term, TurboBasis, load
from gapkit.exceptions import ModelFormatError, NumericalWarning
from gapkit.gp.observations import forces_and_stresses
from gapkit.interop.arguments import parse_arguments
from gapkit.interop.quip_turbo import turbo_descriptor, turbo_text
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold, labelled

DIFFERENT = {  # everything that may differ between two species
    "alpha_max": (3, 4),
    "atom_sigma_r": (0.5, 0.4),
    "atom_sigma_t": (0.45, 0.55),
    "atom_sigma_r_scaling": (0.1, 0.05),
    "atom_sigma_t_scaling": (0.0, 0.1),
    "amplitude_scaling": (2.0, 1.0),
    "central_weight": (0.7, 0.4),
}
MATRIX = ((1, 1, 0.5), (1, 40, 2.0), (3, 144, -1.5), (3, 3, 1.0), (3, 3, 0.25), (4, 8, 1.0))  # row 2 is empty

# (n_max, l_max, sigma, cutoff_width), options
CASES: dict[str, tuple[tuple[int, int, float, float], dict]] = {
    "poly3": ((4, 3, 0.5, 0.5), {}),
    "poly3gauss": ((4, 3, 0.5, 0.5), {"basis": "poly3gauss"}),
    **{
        f"{basis} enhancement {k}": ((4, 3, 0.5, 0.5), {"basis": basis, "radial_enhancement": k})
        for basis in ("poly3", "poly3gauss")
        for k in (1, 2)
    },
    "nf 3": ((4, 3, 0.5, 0.5), {"nf": 3.0}),
    "nf 8": ((4, 3, 0.5, 0.5), {"nf": 8.0}),
    "wide": ((4, 3, 0.5, 1.5), {"nf": 8.0}),
    "soft everywhere": ((4, 3, 0.5, 4.2), {"nf": 8.0, "basis": "poly3gauss"}),
    **{f"amplitude {a}": ((4, 3, 0.5, 0.5), {"nf": 8.0, "amplitude_scaling": a}) for a in (0.0, 0.5, 0.7, 3.0)},
    "radial growth": ((4, 3, 0.5, 0.5), {"nf": 8.0, "atom_sigma_r_scaling": 0.1}),
    "fast radial growth": ((4, 3, 0.5, 0.5), {"basis": "poly3gauss", "nf": 8.0, "atom_sigma_r_scaling": 0.3}),
    "angular growth": ((4, 3, 0.5, 0.5), {"nf": 8.0, "atom_sigma_t_scaling": 0.1}),
    "two widths": ((5, 4, 0.4, 0.5), {"nf": 8.0, "atom_sigma_r": 0.4, "atom_sigma_t": 0.6}),
    "central weights": ((4, 3, 0.5, 0.5), {"central_weight": (0.3, 0.8)}),
    "no centre": ((4, 3, 0.5, 0.5), {"basis": "poly3gauss", "central_weight": (0.0, 0.0)}),
    "two species": ((4, 3, 0.4, 0.8), {**DIFFERENT, "nf": 8.0, "radial_enhancement": 1}),
    "two species poly3gauss": ((4, 3, 0.4, 0.8), {**DIFFERENT, "basis": "poly3gauss", "nf": 8.0}),
    "two species trivial": ((4, 3, 0.4, 0.8), {**DIFFERENT, "compress_mode": "trivial"}),
    "trivial": ((4, 3, 0.5, 0.5), {"compress_mode": "trivial"}),
    **{f"nu {a}_{b}": ((4, 3, 0.5, 0.5), {"compress_mode": f"{a}_{b}"}) for a in range(3) for b in range(3)},
    "nu of two species": ((4, 3, 0.4, 0.8), {**DIFFERENT, "alpha_max": 4, "compress_mode": "1_2"}),
    "matrix": ((4, 3, 0.5, 0.5), {"P_transformation": MATRIX}),
    "matrix of two species": ((4, 3, 0.4, 0.8), {**DIFFERENT, "P_transformation": ((1, 1, 1.0), (2, 99, 0.5), (2, 7, 1.0))}),
    "indices": ((4, 3, 0.5, 0.5), {"P_transformation": tuple((i + 1, j, 1.0) for i, j in enumerate((3, 1, 77, 20, 100)))}),
    "other order": ((4, 3, 0.5, 0.5), {"species_Z": (79, 29), "central_weight": (0.3, 0.8)}),
    "gold alone": ((4, 3, 0.5, 0.5), {"species_Z": (79,)}),
    "one function": ((1, 1, 0.5, 0.5), {}),
    "l = 0": ((3, 0, 0.5, 0.5), {}),  # QUIP's derivatives are several times too large there
    "large l": ((3, 10, 0.4, 0.5), {"basis": "poly3gauss"}),
    "n = 7": ((7, 3, 0.5, 0.5), {"nf": 8.0}),
    "n = 8": ((8, 3, 0.5, 0.5), {"basis": "poly3gauss", "nf": 8.0}),
}
# of vectors of norm 1.  Up to n = 5 rounding; from there the condition of the overlaps (5e11 for n = 8) amplifies what LAPACKs
# differ in: with the one that quippy brings along the error of n = 7 is 4e-12
TOLERANCE = {"n = 7": 5e-10, "n = 8": 3e-9}
# of the largest force, to which 1e-11 of rounding is added in finite differences
FORCE_TOLERANCE = {"n = 7": 5e-8, "n = 8": 2e-7}


def ours(case: str) -> SOAP:
    (n_max, l_max, sigma, width), options = CASES[case]
    return SOAP(4.2, n_max, l_max, sigma, rbf=TurboBasis(**options), cutoff_width=width)


def listed(value) -> str:
    return "{" + " ".join(map(str, value)) + "}" if isinstance(value, tuple) else str(value)


def texts(case: str, folder: Path) -> list[str]:
    """What QUIP takes for a case, one text per central species."""
    (n_max, l_max, sigma, width), options = CASES[case]
    options = dict(options)
    species = options.pop("species_Z", (29, 79))
    n = len(species)
    widths = {key: options.pop(key, sigma) for key in ("atom_sigma_r", "atom_sigma_t")}
    widths = {key: value if isinstance(value, tuple) else (value,) * n for key, value in widths.items()}
    alpha_max = options.pop("alpha_max", n_max)
    alpha_max = alpha_max if isinstance(alpha_max, tuple) else (alpha_max,) * n
    words = [f"soap_turbo rcut_hard=4.2 rcut_soft={4.2 - width} l_max={l_max} alpha_max={listed(alpha_max)}"]
    entries = options.pop("P_transformation", None)
    if entries is not None:
        path = folder / f"{case.replace(' ', '_')}.dat"
        path.write_text(compression_file(entries, alpha_max, l_max))
        words.append(f"compress_file={path}")
    words += [f"{key}={listed(value)}" for key, value in {**widths, **options}.items()]
    words.append(f"n_species={n} species_Z={listed(species)}")
    return [f"{' '.join(words)} central_index={k + 1}" for k in range(n)]


def compression_file(entries, alpha_max, l_max: int) -> str:
    head = f"{' '.join(map(str, alpha_max))} {l_max} {max(i for i, _, _ in entries)}\n"
    if all(value == 1.0 for *_, value in entries):
        return head + "".join(f"{j}\n" for _, j, _ in entries)
    lines = "".join(f"{i} {j} {value}\n" for i, j, value in entries)
    return f"{head}P_transformation\n{lines}end_transformation\n"


def quip(jobs: list, folder: Path) -> list[dict]:
    """Run jobs of one basis and sigma; see `turbo_oracle`."""
    pytest.importorskip("quippy", reason="quippy-ase is only built for Linux on x86-64")
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    script = Path(__file__).with_name("turbo_oracle.py")
    command = [sys.executable, str(script), str(folder / "jobs"), str(folder / "results")]
    subprocess.run(command, check=True, capture_output=True)
    return pickle.loads((folder / "results").read_bytes())


def radial_key(case: str) -> tuple:
    """What QUIP's transformation of the radial functions depends on: a process for each."""
    (n_max, _, sigma, _), options = CASES[case]
    names = ("basis", "alpha_max", "atom_sigma_r", "atom_sigma_t")
    return (n_max, sigma, len(options.get("species_Z", (29, 79))), *(options.get(name) for name in names))


@pytest.fixture(scope="module")
def structures():
    return [copper_gold(0), copper_gold(2, n=8)]  # periodic in two directions, all smaller than the cutoff


@pytest.fixture(scope="module")
def oracle(structures, tmp_path_factory):
    """QUIP's results by case, made when first asked for, with those of all cases of the same radial functions."""
    found: dict[str, dict] = {}

    def of_case(case: str) -> dict:
        if case not in found:
            together = [other for other in CASES if radial_key(other) == radial_key(case)]
            folder = tmp_path_factory.mktemp("turbo")
            jobs = [(texts(other, folder), structures, direction(ours(other).fit(structures))) for other in together]
            found.update(zip(together, quip(jobs, folder), strict=True))
        return found[case]

    return of_case


def direction(descriptor: SOAP):
    return np.random.default_rng(0).standard_normal(descriptor.n_features)


def centres(case: str) -> tuple[int, ...]:
    return CASES[case][1].get("species_Z", (29, 79))


@pytest.mark.parametrize("case", CASES)
def test_values_equal_quip(case, structures, oracle):
    descriptor = ours(case).fit(structures)
    for k, z in enumerate(centres(case)):
        for atoms, theirs in zip(structures, oracle(case)["values"][k], strict=True):
            values = descriptor.transform([atoms])[atoms.numbers == z]
            assert_allclose(values, theirs, rtol=0, atol=TOLERANCE.get(case, 1e-12))


def pulled_forces(case: str, structures):
    descriptor = ours(case).fit(structures)
    atoms = structures[0]
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
    features = descriptor.compute(neighbors, jacobian=True)
    wanted = np.isin(atoms.numbers, centres(case))[:, None] * direction(descriptor)
    pulled = descriptor.pullback(features, wanted)
    environment = np.repeat(np.arange(len(atoms)), np.diff(features.first))
    by_jacobian = np.einsum("pcf,pf->pc", features.jacobian, wanted[environment])
    # 1e-11: two orders of summation of the same numbers
    assert_allclose(by_jacobian, pulled, rtol=0, atol=1e-11 * np.abs(pulled).max())
    return forces_and_stresses(neighbors, pulled)[0]


@pytest.mark.parametrize("case", CASES)
def test_forces_are_derivatives_of_quips_values(case, structures, oracle):
    theirs = oracle(case)["numerical"]
    tolerance = FORCE_TOLERANCE.get(case, 1e-9) * np.abs(theirs).max() + 1e-11
    assert_allclose(pulled_forces(case, structures), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", [case for case, (_, options) in CASES.items() if options.get("nf") == 8.0])
def test_forces_equal_quip(case, structures, oracle):
    """Where nf is large: else what QUIP neglects at rcut_hard makes them differ from the derivatives of its values.

    By 1e-8 to 5e-7 of the largest for nf = 4, by 2e-6 for nf = 3, by 4e-4 for nf = 2.
    """
    theirs = oracle(case)["analytic"]
    tolerance = FORCE_TOLERANCE.get(case, 1e-10) * np.abs(theirs).max()
    assert_allclose(pulled_forces(case, structures), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("amplitude", [0.7, 1.0])
def test_values_of_a_pair_at_any_distance(amplitude, tmp_path):
    """Near the cutoff a fractional power needs dense knots; 2.2 Å is where QUIP's integral beyond rcut_soft begins to count."""
    frames = []
    for r in (0.3, 1.0, 2.19999, 2.20001, 3.59999, 3.60001, 3.65, 3.9, 4.19, 4.1999, 4.199999):
        atoms = bulk("Cu", cubic=True)[:3]
        atoms.numbers[1:] = 79
        atoms.pbc = False
        atoms.positions[:] = [[0, 0, 0], [r * 0.6, r * 0.64, r * 0.48], [-1.1, 1.7, 1.2]]
        frames.append(atoms)
    text = (
        f"soap_turbo rcut_hard=4.2 rcut_soft=3.8 l_max=3 alpha_max={{4 4}} atom_sigma=0.4 amplitude_scaling={amplitude} "
        "n_species=2 species_Z={29 79} central_weight={0.0 1.0}"
    )
    basis = TurboBasis(amplitude_scaling=amplitude, central_weight=(0.0, 1.0))
    descriptor = SOAP(4.2, 4, 3, 0.4, rbf=basis, cutoff_width=0.4).fit(frames)
    (theirs,) = quip([([text], frames, None)], tmp_path)[0]["values"]
    for atoms, expected in zip(frames, theirs, strict=True):
        assert_allclose(descriptor.transform([atoms])[:1], expected, rtol=0, atol=2e-12)


def test_equal_species_share_their_functions(structures):
    shared = SOAP(4.2, 4, 3, rbf=TurboBasis(amplitude_scaling=(1.0, 1.0), central_weight=(1.0, 0.5))).fit(structures)
    two = ours("two species").fit(structures)
    assert shared.radial_table().central.shape == (4,)
    assert two.radial_table().central.shape == (3 + 4,)


def test_short_vectors_are_not_normalised():
    """As in QUIP: below a norm of 1e-5."""
    atoms = bulk("Cu", cubic=True)[:2]
    atoms.pbc = False
    atoms.positions[:] = [[0, 0, 0], [0, 0, 4.19]]
    lengths = []
    for amplitude in (0.0, 2.0):
        basis = TurboBasis("poly3gauss", central_weight=0.0, amplitude_scaling=amplitude)
        lengths.append(np.linalg.norm(SOAP(4.2, 4, 3, rbf=basis).fit([atoms]).transform([atoms])[0]))
    assert abs(lengths[0] - 1.0) < 1e-14
    assert 0.0 < lengths[1] < 1e-5


def test_a_model_with_it_survives_a_file(tmp_path):
    frames = [labelled(copper_gold(seed)) for seed in range(4)]
    options = {**DIFFERENT, "P_transformation": tuple((i, 3 * i, 1.0) for i in range(1, 12))}
    soap = SOAP(4.2, 4, 3, 0.4, rbf=TurboBasis(**options), cutoff_width=0.8)
    model = GAPRegressor([Term(soap, DotProduct(2), n_sparse=8)], random_state=0).fit(frames)
    model.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    np.testing.assert_array_equal(read.evaluate(frames)[0].forces, model.evaluate(frames)[0].forces)
    assert read.named_terms()[0][1].descriptor.rbf.get_params() == soap.rbf.get_params()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ({}, {"basis": "poly3operator"}, "`basis` must be one of 'poly3', 'poly3gauss'"),
        ({"n_max": 11}, {}, "`alpha_max` must be an integer of at least 1 and at most 10; got 11"),
        ({"n_max": 5}, {"alpha_max": (4, 3)}, "`n_max` must be 4, the largest alpha_max of rbf; got 5"),
        ({}, {"atom_sigma_r": 0.3, "atom_sigma_t": 0.4}, "`sigma` must be 0.3, the smallest width of rbf; got 0.5"),
        ({}, {"atom_sigma_r": (0.5, -0.5)}, "`atom_sigma_r` must be a number above 0"),
        (
            {},
            {"amplitude_scaling": (1.0, 2.0), "central_weight": (1.0, 1.0, 1.0)},
            "`amplitude_scaling` must be one number or 3",
        ),
        ({}, {"amplitude_scaling": (1.0, 2.0)}, "`rbf` must be given one number or 1, one per species"),
        ({}, {"amplitude_scaling": -1.0}, "`amplitude_scaling` must be a number at least 0"),
        ({}, {"radial_enhancement": 3}, "`radial_enhancement` must be one of 0, 1, 2"),
        ({}, {"nf": 0.0}, "`nf` must be a number above 0"),
        ({}, {"compress_mode": "3_1"}, "`compress_mode` must be one of 'trivial'"),
        ({}, {"compress_mode": "trivial", "P_transformation": MATRIX}, "`compress_mode` must be None with P_transformation"),
        ({}, {"alpha_max": (3, 4), "compress_mode": "1_2"}, "`alpha_max` must be the same for all species"),
        ({}, {"P_transformation": ((1, 0, 1.0),)}, "`j of P_transformation` must be an integer of at least 1"),
        ({}, {"P_transformation": ((1, 99, 1.0),)}, "`j of P_transformation` must be at most 40; got 99"),
        ({}, {"P_transformation": ()}, "`P_transformation` must be a list of"),
        ({}, {"species_Z": (29, 29)}, "`species_Z` must be distinct atomic numbers"),
        ({"cutoff_width": None}, {}, "`cutoff_width` must be a number with TurboBasis"),
        ({"weighting": {"w0": 0.5}}, {}, "`weighting` must be None with TurboBasis"),
    ],
)
def test_bad_input(shape, options, message):
    soap = SOAP(**{"r_cut": 4.2, "n_max": 4, "l_max": 3, "sigma": 0.5, **shape}, rbf=TurboBasis(**options))
    with pytest.raises(ValueError, match=message):
        soap.fit_transform([bulk("Cu")])


@pytest.mark.parametrize("case", CASES)
def test_texts_are_read(case, tmp_path):
    """The descriptor of a text has the same features as the one that the test made."""
    frame = copper_gold(2, n=8)
    for text, z in zip(texts(case, tmp_path), centres(case), strict=True):
        soap, numbers = turbo_descriptor(parse_arguments(text), tmp_path)
        assert numbers == [z]
        assert soap.species == sorted(centres(case))
        expected = ours(case).set_params(species=(29, 79)).fit([frame]).transform([frame])
        np.testing.assert_array_equal(soap.set_params(species=(29, 79)).fit([frame]).transform([frame]), expected)


@pytest.mark.parametrize("case", [case for case, (_, options) in CASES.items() if "P_transformation" not in options])
def test_texts_survive(case, tmp_path):
    soap = ours(case).set_params(species=centres(case)).fit([bulk("Cu")])
    for z in centres(case):
        read, numbers = turbo_descriptor(parse_arguments(turbo_text(soap, z)), tmp_path)
        assert numbers == [z]
        assert turbo_text(read.fit([bulk("Cu")]), z) == turbo_text(soap, z)


def test_quip_reads_what_is_written(structures, tmp_path):
    descriptor = SOAP(4.2, 4, 3, 0.4, rbf=TurboBasis(**DIFFERENT, compress_mode="trivial"), cutoff_width=0.8).fit(structures)
    found = quip([([turbo_text(descriptor, 29), turbo_text(descriptor, 79)], structures, None)], tmp_path)[0]["values"]
    for k, z in enumerate((29, 79)):
        for atoms, theirs in zip(structures, found[k], strict=True):
            assert_allclose(descriptor.transform([atoms])[atoms.numbers == z], theirs, rtol=0, atol=2e-12)


SHORT = "soap_turbo cutoff=4.2 l_max=3 n_max=4 atom_sigma=0.5"


@pytest.mark.parametrize(
    ("species", "weight", "taken"),
    [
        ("n_species=2 species_Z={29 79}", "0.5", 1.0),
        ("species_Z=29", "0.5", 1.0),
        ("species_Z=29", "{0.5}", 1.0),
        ("n_species=2 species_Z={29 79}", "{0.5 0.8}", (0.5, 0.8)),
        ("n_species=2 species_Z={29 79}", "{0.5 0.5}", 0.5),
    ],
)
def test_central_weight_is_what_the_released_quip_takes(species, weight, taken, structures, tmp_path, recwarn):
    text = f"{SHORT} {species} central_weight={weight}"
    soap, _ = turbo_descriptor(parse_arguments(text), tmp_path)
    assert soap.rbf.central_weight == taken
    assert len(recwarn) == (taken == 1.0)
    values = soap.set_params(species=(29, 79)).fit(structures).transform(structures[:1])
    theirs = quip([([text], structures[:1], None)], tmp_path)[0]["values"][0][0]
    assert_allclose(values[structures[0].numbers == 29], theirs, rtol=0, atol=2e-12)
    meant, _ = turbo_descriptor(parse_arguments(text), tmp_path, use_central_weight=True)
    numbers = [float(word) for word in weight.strip("{}").split()]
    assert meant.rbf.central_weight == (numbers[0] if len(set(numbers)) == 1 else tuple(numbers))


def test_an_ignored_central_weight_is_told(tmp_path):
    with pytest.warns(NumericalWarning, match=r"central_weight=0\.5 of soap_turbo is taken as 1"):
        turbo_descriptor(parse_arguments(f"{SHORT} species_Z=29 central_weight=0.5"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soap_turbo cutoff=4.2 l_max=3 n_max=4 atom_sigma=0.5", "must hold 'species_Z'"),
        (f"{SHORT} n_species=2 species_Z=29", "`species_Z` must be 2 numbers"),
        (f"{SHORT} species_Z=29 scaling_mode=linear", "`scaling_mode` of soap_turbo must be polynomial"),
        (f"{SHORT} species_Z=29 amplitude_scaling={{1 2}}", "`amplitude_scaling` must be one number or 1"),
        (f"{SHORT} species_Z=29 central_index=2", "`central_index` of soap_turbo must be from 1"),
        (f"{SHORT} species_Z=29 basis=poly3operator", "`basis` must be one of"),
        (f"{SHORT} species_Z=29 compress_file=none.dat", "must travel with the XML"),
    ],
)
def test_bad_texts(text, message, tmp_path):
    with pytest.raises(ModelFormatError, match=message):
        turbo_descriptor(parse_arguments(text), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold alpha_max of each species"),
        ("4 3", "must hold alpha_max of each species"),
        ("4 2 1\n1\n", r"must be of \[4, 3\], alpha_max and l_max of the potential; got \[4, 2\]"),
        ("4 3 2\n1\n", "must hold alpha_max of each species"),
        ("4 3 2\n1\nx\n", "must hold alpha_max of each species"),
        ("4 3 2\nP_transformation\n1 1 1.0\n", "must hold alpha_max of each species"),
        ("4 3 2\nP_transformation\n1 1\nend_transformation\n", "must hold alpha_max of each species"),
        ("4 3 2\nP_transformation\n3 1 1.0\nend_transformation\n", "features from 1 to 2 and products from 1 to 40"),
        ("4 3 2\n1\n41\n", "features from 1 to 2 and products from 1 to 40"),
    ],
)
def test_bad_compression_files(content, message, tmp_path):
    (tmp_path / "c.dat").write_text(content)
    with pytest.raises(ModelFormatError, match=message):
        turbo_descriptor(parse_arguments(f"{SHORT} species_Z=29 compress_file=c.dat"), tmp_path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rbf": "gto"}, "`rbf` must be a TurboBasis"),
        ({"normalize": False}, "`normalize` must be True"),
        ({"average": "outer"}, "`average` must be 'off'"),
        ({"rbf__P_transformation": MATRIX}, "`P_transformation` must be None to be written"),
        ({"rbf__species_Z": (79,)}, r"`z` must be one of \[79\]"),
        ({"rbf__central_weight": 0.5}, "`central_weight` must be 1 for one species"),
    ],
)
def test_what_cannot_be_written(parameters, message):
    soap = SOAP(4.2, 4, 3, 0.5, rbf=TurboBasis(), species=("Cu",)).fit([bulk("Cu")]).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        turbo_text(soap, 29)
