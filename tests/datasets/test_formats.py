"""Data sets of other potentials, through their own readers: energies to 1e-10 relative after conversion.

The tool that wrote the file, or the publication whose layout was typed in, is named in each test.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io.runner.writer import write_runnerdata
from numpy.testing import assert_allclose

from gapkit.datasets import read_frames
from gapkit.datasets.formats import format_of

KCAL = units.kcal / units.mol
EXACT = {"rtol": 1e-12, "atol": 0}  # one multiplication


@pytest.fixture
def ethanol():
    """Positions, energies and forces of 4 frames, as numbers without units."""
    rng = np.random.default_rng(0)
    atoms = molecule("CH3CH2OH")
    positions = atoms.positions + 0.05 * rng.normal(size=(4, 9, 3))
    return atoms.numbers, positions, -97000.0 + rng.normal(size=4), 20.0 * rng.normal(size=(4, 9, 3))


def energies(frames):
    return [atoms.get_potential_energy() for atoms in frames]


def forces(frames):
    return [atoms.get_forces() for atoms in frames]


def test_rmd17(ethanol, tmp_path):
    """Arrays and dtypes as in rmd17_ethanol.npz (doi:10.6084/m9.figshare.12672038)."""
    z, r, e, f = ethanol
    path = tmp_path / "rmd17_ethanol.npz"
    np.savez(
        path, nuclear_charges=z.astype("uint8"), coords=r, energies=e, forces=f, old_indices=np.arange(4), old_energies=e + 1
    )
    frames, keys = read_frames(path)
    assert keys.format == "md17"
    assert str(keys.units) == "kcal/mol, Å, kcal/mol/Å"
    assert_allclose(energies(frames), e * KCAL, **EXACT)
    assert_allclose(forces(frames), f * KCAL, **EXACT)
    assert_allclose([a.positions for a in frames], r, **EXACT)
    assert not frames[0].pbc.any()


def test_md17_and_sgdml(ethanol, tmp_path):
    """Arrays of md17_ethanol.npz (sgdml.org), with the units that later sGDML files name, and a lattice in columns."""
    z, r, e, f = ethanol
    path = tmp_path / "md17_ethanol.npz"
    lattice = np.array([[9.0, 1.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 7.0]])
    names = {"name": "ethanol", "theory": "CCSD(T)", "md5": "0", "type": "d"}
    np.savez(path, z=z, R=r, E=e[:, None], F=f, r_unit="Bohr", e_unit="Hartree", lattice=lattice, **names)
    frames, keys = read_frames(path)
    assert str(keys.units) == "Hartree, Bohr, Hartree/Bohr"
    assert_allclose(energies(frames), e * units.Hartree, **EXACT)
    assert_allclose(forces(frames), f * units.Hartree / units.Bohr, **EXACT)
    assert_allclose(frames[0].positions, r[0] * units.Bohr, **EXACT)
    assert_allclose(frames[0].cell.array, lattice.T * units.Bohr, **EXACT)
    frames, _ = read_frames(path, units={"energy": "kJ/mol", "forces": "eV/Å"})
    assert_allclose(energies(frames), e * units.kJ / units.mol, **EXACT)
    assert_allclose(forces(frames), f, **EXACT)


def test_npz_runs_no_code(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, z=np.array([1]), R=np.array([{"a": print}], dtype=object))
    with pytest.raises(ValueError, match=r"'R' of .*bad.npz must hold plain numbers; Object arrays cannot be loaded"):
        read_frames(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="must hold nuclear charges"):
        read_frames(path)


def test_ani1x(ethanol, tmp_path):
    """Groups, names and dtypes of ani1x-release.h5 (doi:10.1038/s41597-020-0473-z), written with h5py."""
    h5py = pytest.importorskip("h5py")
    z, r, e, f = ethanol
    high = np.where(np.arange(4) == 2, e + 0.5, np.nan)
    with h5py.File(tmp_path / "ani1x.h5", "w") as file:
        group = file.create_group("C2H6O1")
        group["atomic_numbers"] = z.astype("uint8")
        group["coordinates"] = r.astype("float32")
        group["wb97x_dz.energy"] = e
        group["wb97x_dz.forces"] = f.astype("float32")
        group["ccsd(t)_cbs.energy"] = high
    frames, keys = read_frames(tmp_path / "ani1x.h5")
    assert keys.format == "ani"
    assert "ccsd(t)_cbs.energy" in keys.remarks[0]
    assert_allclose(energies(frames), e * units.Hartree, **EXACT)
    assert_allclose(forces(frames), f.astype("float32").astype(float) * units.Hartree, **EXACT)  # Hartree/Å
    assert_allclose(frames[2].info["ccsd(t)_cbs.energy"], high[2] * units.Hartree, **EXACT)
    assert "ccsd(t)_cbs.energy" not in frames[0].info
    named, keys = read_frames(tmp_path / "ani1x.h5", energy="ccsd(t)_cbs.energy")
    assert keys.found["energy"] == {"ccsd(t)_cbs.energy": 1}
    assert_allclose(named[2].get_potential_energy(), high[2] * units.Hartree, **EXACT)


def test_ani1(ethanol, tmp_path):
    """Layout of ani_gdb_s01.h5 (doi:10.1038/sdata.2017.193), written with h5py: nested groups, byte strings as species."""
    h5py = pytest.importorskip("h5py")
    z, r, e, _ = ethanol
    with h5py.File(tmp_path / "ani_gdb_s03.h5", "w") as file:
        group = file.create_group("gdb11_s03/gdb11_s03-0")
        group["species"] = np.array([b"C", b"C", b"O", *[b"H"] * 6])
        group["coordinates"], group["energies"] = r, e
        group["smiles"] = np.array([b"C", b"C", b"O"])
    frames, _ = read_frames(tmp_path / "ani_gdb_s03.h5")
    assert frames[0].get_chemical_symbols() == Atoms(z).get_chemical_symbols()
    assert_allclose(energies(frames), e * units.Hartree, **EXACT)
    assert frames[0].info["molecule"] == "gdb11_s03/gdb11_s03-0"


def test_missing_extra_names_the_command(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if they were not installed
    monkeypatch.setitem(sys.modules, "dpdata", None)
    with pytest.raises(ImportError, match=r"needs the package h5py, .*pip install 'gapkit\[io\]'"):
        read_frames(path)
    with pytest.raises(ImportError, match=r"dpdata:abacus/scf needs the package dpdata"):
        read_frames(path, format="dpdata:abacus/scf")


METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t\
-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""


def test_qm9(tmp_path):
    """dsgdb9nsd_000001.xyz (doi:10.6084/m9.figshare.978904), typed, with one exponent in Mathematica's way as others have."""
    folder = tmp_path / "dsgdb9nsd"
    folder.mkdir()
    (folder / "dsgdb9nsd_000001.xyz").write_text(METHANE)
    (folder / "dsgdb9nsd_000002.xyz").write_text(METHANE.replace("gdb 1\t", "gdb 2\t"))
    frames, keys = read_frames(folder)
    assert [a.info["gdb"] for a in frames] == [1, 2]
    assert keys.format == "qm9"
    assert_allclose(energies(frames), [-40.47893 * units.Hartree] * 2, **EXACT)
    assert frames[0].positions[2, 2] == 2.765748e-4
    assert_allclose(frames[0].info["zpve"], 0.044749 * units.Hartree, **EXACT)
    frames, _ = read_frames(folder / "dsgdb9nsd_000001.xyz", energy="U0_minus_zpve")
    assert_allclose(energies(frames), (-40.47893 - 0.044749) * units.Hartree, **EXACT)
    (folder / "cut.xyz").write_text(METHANE[:300])
    with pytest.raises(ValueError, match=r"Molecule 0 of .*cut.xyz must be complete"):
        read_frames(folder / "cut.xyz")


def silicon():
    """Four frames with energies, forces and virials (eV)."""
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(4):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.05, rng=rng)
        atoms.set_cell(atoms.cell.array + 0.02 * rng.normal(size=(3, 3)))
        frames.append(atoms)
    virial = rng.normal(size=(4, 3, 3))
    return frames, -40.0 + rng.normal(size=4), rng.normal(size=(4, 8, 3)), virial + virial.transpose(0, 2, 1)


def expected_stress(frames, virial):
    voigt = [[v[0, 0], v[1, 1], v[2, 2], v[1, 2], v[0, 2], v[0, 1]] for v in virial]
    return [-np.array(v) / a.get_volume() for v, a in zip(voigt, frames, strict=True)]


@pytest.mark.filterwarnings("ignore")  # dpdata's
@pytest.mark.parametrize("kind", ["deepmd/npy", "deepmd/npy/mixed"])
def test_deepmd(tmp_path, kind):
    """Written by dpdata."""
    dpdata = pytest.importorskip("dpdata")
    frames, e, f, virial = silicon()
    data = {
        "atom_names": ["C", "Si"],
        "atom_numbs": [2, 6],
        "atom_types": np.array([1, 1, 0, 1, 1, 1, 0, 1]),
        "orig": np.zeros(3),
        "cells": np.array([a.cell.array for a in frames]),
        "coords": np.array([a.positions for a in frames]),
        "energies": e,
        "forces": f,
        "virials": virial,
    }
    system = dpdata.LabeledSystem(data=data)
    options = {"prec" if kind.endswith("mixed") else "comp_prec": np.float64, "set_size": 3}
    (dpdata.MultiSystems(system) if kind.endswith("mixed") else system).to(kind, str(tmp_path / "data"), **options)
    found, keys = read_frames(tmp_path / "data")
    assert keys.format == "deepmd"
    assert found[0].get_chemical_formula() == "C2Si6"
    order = np.argsort(found[0].numbers, kind="stable")
    reference = np.argsort(data["atom_types"], kind="stable")
    assert_allclose(energies(found), e, **EXACT)
    assert_allclose(np.array(forces(found))[:, order], f[:, reference], **EXACT)
    assert_allclose(np.array([a.positions for a in found])[:, order], data["coords"][:, reference], **EXACT)
    assert_allclose([a.get_stress() for a in found], expected_stress(frames, virial), rtol=1e-10)
    if kind == "deepmd/npy":  # dpdata as reader gives the same
        bridge, keys = read_frames(tmp_path / "data", format="dpdata:deepmd/npy")
        assert "dpdata" in keys.remarks[0]
        assert_allclose(energies(bridge), e, **EXACT)
        assert_allclose([a.get_stress() for a in bridge], [a.get_stress() for a in found], rtol=1e-12)


def test_deepmd_tree_without_type_map(tmp_path):
    """Typed after the DeePMD-kit manual: two systems, one not periodic and without forces."""
    for name, periodic in (("a", True), ("b", False)):
        part = tmp_path / name / "set.000"
        part.mkdir(parents=True)
        (tmp_path / name / "type.raw").write_text("0 1\n")
        np.save(part / "coord.npy", np.arange(12.0).reshape(2, 6))
        np.save(part / "energy.npy", np.array([-1.5, -2.5]))
        if periodic:
            np.save(part / "box.npy", np.tile(np.eye(3).ravel() * 5, (2, 1)))
            np.save(part / "force.npy", np.arange(12.0).reshape(2, 6))
        else:
            (tmp_path / name / "nopbc").touch()
    with pytest.raises(ValueError, match=r"numbers its species 0 to 1 and does not name them\. .*--species Al,Ni"):
        read_frames(tmp_path)
    frames, keys = read_frames(tmp_path, species=["O", "H"])
    assert energies(frames) == [-1.5, -2.5, -1.5, -2.5]
    assert keys.found["forces"] == {"forces": 2}
    assert [a.info["group"] for a in frames] == ["a", "a", "b", "b"]
    assert frames[2].get_chemical_symbols() == ["O", "H"]
    assert frames[0].pbc.all()
    assert not frames[2].pbc.any()


def test_runner_by_ase(tmp_path):
    """Written by ASE's writer of RuNNer's input.data."""
    frames, e, f, _ = silicon()
    from ase.calculators.singlepoint import SinglePointCalculator

    for atoms, energy, force in zip(frames, e, f, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=force)
    with open(tmp_path / "input.data", "w") as file:
        write_runnerdata(file, frames)
    found, keys = read_frames(tmp_path / "input.data")
    assert keys.format == "runner"
    assert_allclose(energies(found), e, rtol=1e-8)  # digits that the writer keeps
    assert_allclose(forces(found), f, atol=1e-6)


RUNNER = """# a comment
begin
comment typed after the n2p2 manual
lattice 10.0 0.0 0.0
lattice 0.0 11.0 0.0
lattice 0.0 0.0 12.0
atom 0.0 0.0 0.0 O 0.0 0.0 0.001 0.002 0.003
atom 1.8 0.0 0.25 H 0.0 0.0 -0.001 -0.002 -0.003
energy -76.123456789012
charge 0.0
end
"""


def test_n2p2_has_no_units_of_its_own(tmp_path):
    path = tmp_path / "input.data"
    path.write_text(RUNNER * 2)
    frames, keys = read_frames(path)
    assert str(keys.units) == "Hartree, Bohr, Hartree/Bohr"
    assert_allclose(energies(frames), [-76.123456789012 * units.Hartree] * 2, **EXACT)
    assert_allclose(frames[1].positions[1], np.array([1.8, 0, 0.25]) * units.Bohr, **EXACT)
    assert_allclose(frames[1].get_forces()[0], np.array([0.001, 0.002, 0.003]) * units.Hartree / units.Bohr, **EXACT)
    frames, _ = read_frames(path, units={"energy": "eV", "length": "Å"})
    assert_allclose(energies(frames), [-76.123456789012] * 2, **EXACT)
    assert_allclose(frames[0].cell.lengths(), [10, 11, 12], **EXACT)
    path.write_text(RUNNER + RUNNER[:200])
    with pytest.raises(ValueError, match="must have a begin and an end; is the file truncated"):
        read_frames(path)


MTP = """BEGIN_CFG
 Size
    2
 Supercell
         4.0 0.0 0.0
         0.0 4.0 0.0
         0.0 0.0 5.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz
             2 1 2.0 2.0 2.5 -0.1 -0.2 -0.3
             1 0 0.0 0.0 0.1 0.1 0.2 0.3
 Energy
        -10.812345678901
 PlusStress:  xx yy zz yz xz xy
        8.0 16.0 24.0 4.0 5.0 6.0
 Feature   EFS_by       VASP
END_CFG
"""


def test_mtp(tmp_path):
    """Typed after the manual of MLIP-2 (atoms out of order, as some writers leave them)."""
    path = tmp_path / "train.cfg"
    path.write_text(MTP * 3)
    assert format_of(path) == "mtp"
    frames, keys = read_frames(path, species=["Al", "Ni"])
    assert len(frames) == 3
    assert frames[0].get_chemical_symbols() == ["Al", "Ni"]
    assert energies(frames) == [-10.812345678901] * 3
    assert_allclose(frames[1].get_forces()[1], [-0.1, -0.2, -0.3], **EXACT)
    assert_allclose(frames[1].get_stress(), -np.array([8, 16, 24, 4, 5, 6]) / 80.0, **EXACT)
    assert keys.found["stress"] == {"virial": 3}
    assert frames[0].info["mtp_EFS_by"] == "VASP"
    path.write_text(MTP.replace("END_CFG", ""))
    with pytest.raises(ValueError, match=r"Configuration 0 of .* must end with END_CFG"):
        read_frames(path, species=["Al", "Ni"])
    path.write_text(MTP.replace("PlusStress", "Stress"))
    with pytest.raises(ValueError, match="must be under PlusStress"):
        read_frames(path, species=["Al", "Ni"])
    path.write_text(MTP)
    with pytest.raises(ValueError, match="there are 1 names"):
        read_frames(path, species=["Al"])


def test_fitsnap(tmp_path):
    """Typed after examples/Ta_Linear_JCP2014 of FitSNAP: a comment line, styles, bar positive when compressed."""
    entry = {
        "Stress": [[10000.0, 100.0, 200.0], [100.0, 20000.0, 300.0], [200.0, 300.0, 30000.0]],
        "Positions": [[0.0, 0.0, 0.0], [1.65, 1.65, 1.65]],
        "Energy": -23.712345678901,
        "AtomTypes": ["Ta", "Ta"],
        "Lattice": [[3.3, 0.0, 0.0], [0.0, 3.3, 0.0], [0.1, 0.0, 3.3]],
        "NumAtoms": 2,
        "Forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
    }
    styles = {"StressStyle": "bar", "EnergyStyle": "electronvolt", "ForcesStyle": "electronvoltperangstrom"}
    styles |= {"PositionsStyle": "angstrom", "LatticeStyle": "angstrom", "AtomTypeStyle": "chemicalsymbol"}
    for group in ("Liquid", "Surface"):
        (tmp_path / group).mkdir()
        text = "# file\n" + json.dumps({"Dataset": {"Data": [entry], **styles}})
        (tmp_path / group / "a.json").write_text(text)
    frames, _ = read_frames(tmp_path)
    assert [a.info["config_type"] for a in frames] == ["Liquid", "Surface"]
    assert energies(frames) == [-23.712345678901] * 2
    gpa = np.array([1.0, 2.0, 3.0, 0.03, 0.02, 0.01])
    assert_allclose(frames[0].get_stress(), -gpa * units.GPa, **EXACT)
    assert_allclose(frames[0].cell.array, entry["Lattice"])
    (tmp_path / "Liquid" / "a.json").write_text(text.replace('"bar"', '"atm"'))
    with pytest.raises(ValueError, match=r"`StressStyle` of .*a.json must be one of bar, kbar"):
        read_frames(tmp_path)


STRUCTURE = {
    "@module": "pymatgen.core.structure",
    "@class": "Structure",
    "charge": 0,
    "lattice": {"matrix": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 5.0]], "pbc": [True, True, True]},
    "sites": [
        {"species": [{"element": "Na", "occu": 1}], "abc": [0.0, 0.0, 0.0], "xyz": [0.0, 0.0, 0.0], "label": "Na"},
        {"species": [{"element": "Cl", "occu": 1}], "abc": [0.5, 0.5, 0.5], "xyz": [2.0, 2.0, 2.5], "label": "Cl"},
    ],
}
E_TOTAL, F = -7.12345678901, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
STEP = {"structure": STRUCTURE, "e_0_energy": E_TOTAL, "forces": F}
KBAR = [[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]


@pytest.mark.parametrize(
    "content",
    [
        # MPtrj_2022.9_full.json (doi:10.6084/m9.figshare.23713842), one frame
        {"mp-1": {"mp-1-0-0": {"structure": STRUCTURE, "uncorrected_total_energy": E_TOTAL, "force": F, "stress": KBAR}}},
        # MatPES (matpes.ai): a list, six stresses in VASP's order
        [{"matpes_id": "mp-1", "structure": STRUCTURE, "energy": E_TOTAL, "forces": F, "stress": [1, 2, 3, 0.1, 0.3, 0.2]}],
        # mlearn and maml
        [
            {
                "group": "mp-1",
                "structure": STRUCTURE,
                "num_atoms": 2,
                "outputs": {"energy": E_TOTAL, "forces": F, "stress": KBAR},
            }
        ],
        # summary documents of the Materials Project's API, and ComputedStructureEntry.as_dict()
        [{"material_id": "mp-1", "structure": STRUCTURE, "uncorrected_energy_per_atom": E_TOTAL / 2}],
        {"@class": "ComputedStructureEntry", "entry_id": "mp-1", "energy": E_TOTAL, "correction": -1.0, "structure": STRUCTURE},
        # task documents: ionic steps
        {
            "task_id": "mp-1",
            "calcs_reversed": [{"output": {"ionic_steps": [{"structure": STRUCTURE, "e_0_energy": E_TOTAL, "forces": F}]}}],
        },
    ],
)
def test_pymatgen(content, tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content))
    frames, keys = read_frames(path)
    assert keys.format == "pymatgen"
    assert frames[0].get_chemical_symbols() == ["Na", "Cl"]
    assert_allclose(energies(frames), [E_TOTAL], **EXACT)
    assert_allclose(frames[0].positions[1], [2, 2, 2.5])
    if keys.found["forces"]:
        assert_allclose(frames[0].get_forces(), F)
    if keys.found["stress"]:
        expected = -0.1 * units.GPa * np.array([1, 2, 3, 0.3, 0.2, 0.1])
        assert_allclose(frames[0].get_stress(), expected, **EXACT)
        assert any("kbar" in text for text in keys.remarks)


def test_pymatgen_refuses_disorder(tmp_path):
    mixed = json.loads(json.dumps(STRUCTURE))
    mixed["sites"][0]["species"][0]["occu"] = 0.5
    (tmp_path / "a.json").write_text(json.dumps(mixed))
    with pytest.raises(ValueError, match="Every site must be one whole atom; structure 0 of"):
        read_frames(tmp_path / "a.json")


def test_unknown_and_unsafe_formats(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"\x00\x01\x02")
    with pytest.raises(ValueError, match=r"must be of a known format.*md17, ani, deepmd.*dpdata:NAME"):
        read_frames(path)
    for name in ("nonsense", "py", "pickle"):
        with pytest.raises(ValueError, match=f"`format` must be one of md17.*got '{name}'"):
            read_frames(path, format=name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="must be a DeePMD-kit data set, or hold files of QM9"):
        read_frames(tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npz", b"PK\x03\x04 not a zip"),
        ("a.npz", b"nonsense"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100),
        ("a.cfg", b"BEGIN_CFG\n Size\n x\nEND_CFG\n"),
        ("a.cfg", b"BEGIN_CFG\n\xff\xfe\nEND_CFG\n"),
        ("input.data", b"begin\natom 1 2\nend\n"),
        ("a.json", b'{"structure": ' * 2000),
        ("a.json", b'# c\n{"Dataset": []}'),
        ("a.json", b'{"structure": {"lattice": {}, "sites": [{"species": []}]}}'),
        ("a.xyz", METHANE.replace("-40.47893", "nonsense").encode()),
        ("a.out", b" CP2K| version string: 2023\n"),
        ("a-pos-1.xyz", b"2\n i =  0, time = 0.0, E = -1.0\nH 0 0\n"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((ValueError, OSError), match=str(path).replace(".", "\\.") if not name.endswith(".h5") else "(?s).*"):
        read_frames(path, species=["H"])
