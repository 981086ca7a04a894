"""Outputs of electronic-structure codes, through ASE and gapkit's reader of CP2K."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import ase.io.ulm
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from ase.io.trajectory import write_atoms
from numpy.testing import assert_allclose

from gapkit.datasets import check_units, read_frames
from gapkit.exceptions import InvalidLabelError

FILES = Path(__file__).parent / "files"
EXACT = {"rtol": 1e-12, "atol": 0}


def ase_file(name):
    """A file that ASE ships for its own tests."""
    path = Path(str(resources.files("ase") / "test" / "testdata" / name))
    if not path.exists():
        pytest.skip(f"this ASE has no {name}")
    return path


def test_cp2k():
    """Written by CP2K 2023.1 (H2 in a box; header, cell, coordinates, energy, forces and stress of the output)."""
    (atoms,), keys = read_frames(FILES / "cp2k_2023.1.out")
    assert keys.format == "cp2k"
    assert_allclose(atoms.get_potential_energy(), -1.124870174046639 * units.Hartree, **EXACT)
    assert_allclose(atoms.get_forces()[0], np.array([0, 0.00328931, 0.02514656]) * units.Hartree / units.Bohr, **EXACT)
    # sign: run again with the box strained, CP2K gives energies that grow with volume where it prints a negative trace
    assert_allclose(
        atoms.get_stress()[:4], np.array([1.36306098176, 0.743071458914, 1.34942532113, 0.146443743651]) * units.GPa
    )
    assert_allclose(atoms.cell.lengths(), [5, 5, 5.5])
    assert atoms.pbc.all()


def test_cp2k_2025(tmp_path):
    """The same numbers in the layout of CP2K 2025 (typed): other titles, stress in bar."""
    text = (FILES / "cp2k_2023.1.out").read_text()
    start, end = text.index(" ATOMIC FORCES"), text.index(" STRESS|")
    forces = """ FORCES| Atomic forces [hartree/bohr]
 FORCES| Atom     x               y               z               |f|
 FORCES|      1   0.00000000E+00  0.32893100E-02  0.25146560E-01  0.25360779E-01
 FORCES|      2   0.00000000E+00 -0.32209040E-01 -0.17648960E-01  0.36727700E-01
 FORCES| Sum      0.00000000E+00 -0.28919730E-01  0.74976000E-02  0.29875830E-01

"""
    text = text[:start] + forces + text[end:]
    text = text.replace("energy [a.u.]:   ", "energy [hartree]  ").replace("stress tensor [GPa]", "stress tensor [bar]")
    path = tmp_path / "new.out"
    path.write_text(text)
    (atoms,), keys = read_frames(path)
    (old,), _ = read_frames(FILES / "cp2k_2023.1.out")
    assert keys.units.stress == "bar"
    assert atoms.get_potential_energy() == old.get_potential_energy()
    assert_allclose(atoms.get_forces(), old.get_forces(), rtol=1e-12, atol=1e-14)
    assert_allclose(atoms.get_stress(), old.get_stress() * 1e-4, rtol=1e-12)
    path.write_text(text.replace("Analytical stress tensor", "Some tensor"))
    with pytest.raises(ValueError, match="one of CP2K's known layouts; it is not, and is not ignored"):
        read_frames(path)
    path.write_text(text.replace(" ENERGY|", " *** SCF run NOT converged ***\n ENERGY|"))
    with pytest.raises(ValueError, match="must be converged"):
        read_frames(path)


def test_cp2k_trajectory(tmp_path):
    """Typed after the -pos-1.xyz, -frc-1.xyz and .cell files of a run of CP2K 2023.1."""
    comment = "       2\n i =        {0}, time =        {0}.000, E =        -1.124870174{0}\n"
    body = "  H         0.0000000000        0.0000000000        0.0\n  H         0.0000000000        0.1000000000        0.75\n"
    (tmp_path / "md-pos-1.xyz").write_text("".join(comment.format(k) + body for k in range(2)))
    frames, keys = read_frames(tmp_path / "md-pos-1.xyz")
    assert "no forces" in keys.remarks[0]
    assert not frames[0].pbc.any()
    (tmp_path / "md-frc-1.xyz").write_text("".join(comment.format(k) + body for k in range(2)))
    row = "{0} {0}.0 5.0 0 0 0 5.0 0 0 0 6.0 150.0\n"
    (tmp_path / "md-1.cell").write_text("# Step Time Ax Ay Az Bx By Bz Cx Cy Cz Volume\n" + row.format(0) + row.format(1))
    frames, keys = read_frames(tmp_path / "md-pos-1.xyz")
    assert keys.remarks == []
    energies = [a.get_potential_energy() for a in frames]
    assert_allclose(energies, np.array([-1.1248701740, -1.1248701741]) * units.Hartree, **EXACT)
    assert_allclose(frames[1].get_forces()[1], np.array([0, 0.1, 0.75]) * units.Hartree / units.Bohr, **EXACT)
    assert_allclose(frames[1].cell.lengths(), [5, 5, 6])


def test_cp2k_dynamics():
    """Ten steps of CP2K 2023.1: energies change by the work of the forces, so units, signs and order are right."""
    frames, _ = read_frames(FILES / "cp2k-pos-1.xyz")
    assert len(frames) == 10
    assert_allclose(frames[0].get_potential_energy(), -1.1284765167 * units.Hartree, **EXACT)
    assert_allclose(check_units(frames).ratio, 1.0, atol=0.01)  # the trapezoidal rule and SCF convergence


def test_quantum_espresso():
    """Written by pw.x 6.7 (Si2, LDA)."""
    (atoms,), keys = read_frames(FILES / "espresso_6.7.pwo")
    assert keys.format == "espresso-out"
    ry = units.create_units("2006")["Ry"]  # the constants that ASE takes for this code
    assert_allclose(atoms.get_potential_energy(), -15.61116188 * ry, **EXACT)
    assert_allclose(atoms.get_forces()[0, 0], 0.03936482 * 25.711, rtol=1e-4)
    assert_allclose(atoms.get_stress()[:3].mean(), -5.868 * units.GPa, rtol=2e-3)  # kbar of the file have two digits
    with pytest.raises(ValueError, match=r"`units` must not be given for .*espresso-out, whose reader converts"):
        read_frames(FILES / "espresso_6.7.pwo", units={"energy": "Ry"})


def test_vasp_outcar():
    """OUTCAR_example_1 of ASE's tests, written by VASP: energy and free energy differ, so that a choice is asked for."""
    path = ase_file("vasp/OUTCAR_example_1")
    with pytest.raises(InvalidLabelError, match=r"Two energy labels contradict.*Forces are derivatives of free_energy"):
        read_frames(path, format="vasp-out")
    frames, _ = read_frames(path, format="vasp-out", energy="free_energy")
    text = path.read_text()
    printed = [float(line.split()[4]) for line in text.splitlines() if "free  energy   TOTEN  =" in line]
    assert frames[-1].get_potential_energy() == printed[-1]


def test_vasprun():
    """vasprun_pstress.xml of ASE's tests."""
    frames, keys = read_frames(ase_file("vasp/vasprun_pstress.xml"), energy="energy")
    assert keys.format == "vasp-xml"
    assert keys.found["forces"]
    assert keys.found["stress"]
    assert np.isfinite(frames[-1].get_potential_energy())


def test_gpaw(tmp_path):
    """The log of GPAW 20.1 that ASE's tests have, and a .gpw written as GPAW does (its reader does not need GPAW)."""
    path = ase_file("gpaw_expected_text_output")
    (frame,), keys = read_frames(path)
    assert keys.format == "gpaw-out"
    printed = next(float(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("Extrapolated:"))
    assert_allclose(frame.get_potential_energy(), printed, atol=5e-6)  # ASE takes the table of steps, with five digits
    atoms = bulk("Al")
    with ase.io.ulm.open(str(tmp_path / "al.gpw"), "w", tag="gpaw") as file:
        file.write(version=3, ha=units.Ha, bohr=units.Bohr)
        write_atoms(file.child("atoms"), atoms)
        file.child("results").write(energy=-3.712345678901, forces=np.zeros((1, 3)))
        file.child("wave_functions").write(fermi_levels=np.array([5.0]))
    frames, keys = read_frames(tmp_path / "al.gpw")
    assert keys.format == "gpw"
    assert frames[0].get_potential_energy() == -3.712345678901


ORCA = """                                 *****************
                                 * O   R   C   A *
                                 *****************
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  H      0.000000    0.000000    0.000000
  H      0.000000    0.000000    0.740000

Number of atoms                             ...      2
-------------------------   --------------------
FINAL SINGLE POINT ENERGY        -1.163456789012
-------------------------   --------------------
------------------
CARTESIAN GRADIENT
------------------

   1   H   :    0.000000000    0.000000000    0.012345678
   2   H   :    0.000000000    0.000000000   -0.012345678

                             ****ORCA TERMINATED NORMALLY****
"""

GAUSSIAN = """ Entering Gaussian System, Link 0=g16
                          Input orientation:
 ---------------------------------------------------------------------
 Center     Atomic      Atomic             Coordinates (Angstroms)
 Number     Number       Type             X           Y           Z
 ---------------------------------------------------------------------
      1          1           0        0.000000    0.000000    0.000000
      2          1           0        0.000000    0.000000    0.740000
 ---------------------------------------------------------------------
 SCF Done:  E(RB3LYP) =  -1.163456789012     A.U. after    7 cycles
 -------------------------------------------------------------------
 Center     Atomic                   Forces (Hartrees/Bohr)
 Number     Number              X              Y              Z
 -------------------------------------------------------------------
      1        1           0.000000000    0.000000000   -0.012345678
      2        1           0.000000000    0.000000000    0.012345678
 -------------------------------------------------------------------
"""


@pytest.mark.parametrize(("name", "text", "kind"), [("h2.out", ORCA, "orca-output"), ("h2.log", GAUSSIAN, "gaussian-out")])
def test_orca_and_gaussian(name, text, kind, tmp_path):
    """Typed: the sections that ASE reads, in the layouts of ORCA 5 and Gaussian 16."""
    (tmp_path / name).write_text(text)
    (atoms,), keys = read_frames(tmp_path / name)
    assert keys.format == kind
    assert_allclose(atoms.get_potential_energy(), -1.163456789012 * units.Hartree, **EXACT)
    assert_allclose(atoms.get_forces()[0, 2], -0.012345678 * units.Hartree / units.Bohr, **EXACT)


@pytest.mark.parametrize("name", ["data.db", "data.json", "data.traj", "data.xyz", "data.xyz.gz"])
def test_files_of_ase(name, tmp_path):
    """Written by ASE; the same frames come back from each."""
    frames = []
    for k in range(3):
        atoms = bulk("Cu", cubic=True) * (1, 1, k + 1)
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    if name.endswith((".db", ".json")):
        with connect(tmp_path / name) as data:
            for atoms in frames:
                data.write(atoms)
    else:
        write(tmp_path / name, frames, format="extxyz" if "xyz" in name else None)
    found, keys = read_frames(tmp_path / name)
    assert keys.found["stress"] == {"stress": 3}
    energies = [a.get_potential_energy() for a in frames]
    assert_allclose([a.get_potential_energy() for a in found], energies, **EXACT)
    converted, _ = read_frames(tmp_path / name, units={"energy": "Ry", "length": "Bohr"})
    assert_allclose([a.get_potential_energy() for a in converted], np.array(energies) * units.Ry, **EXACT)
    assert_allclose(converted[1].get_stress(), found[1].get_stress() * units.Ry / units.Bohr**3, rtol=1e-12)
