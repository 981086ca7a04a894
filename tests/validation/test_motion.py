"""Dynamics and what is read off it: against structures and walks with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from gapkit.exceptions import NumericalWarning
from gapkit.validation import (
    Ensemble,
    angles,
    diffusion,
    first_shell,
    measure_properties,
    motion_properties,
    property_rows,
    radial_distribution,
    read_reference,
    step_advice,
)
from gapkit.validation.suite import unit_of


def thermal(atoms, n=20, amplitude=0.06):
    frames = []
    for k in range(n):
        frame = atoms.copy()
        frame.rattle(amplitude, seed=k)
        frames.append(frame)
    return frames


def test_radial_distribution_of_an_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    frames = [Atoms("Ar200", positions=rng.uniform(0, 15, (200, 3)), cell=[15] * 3, pbc=True) for _ in range(10)]
    r, g = radial_distribution(frames, 6.0, 12)
    far = r > 3
    # n pairs within a bin, each counted twice: g has a relative noise of sqrt(2 / (2 n)); the mean over 6 bins is good to 1 %
    assert g[far].mean() == pytest.approx(199 / 200, abs=0.02)  # an atom is not its own neighbour


def test_first_shells_of_diamond_and_fcc():
    for symbol, a, n, distance in (("Si", 5.43, 4, 5.43 * np.sqrt(3) / 4), ("Cu", 3.6, 12, 3.6 / np.sqrt(2))):
        frames = thermal(bulk(symbol, a=a, cubic=True).repeat(2 if n == 4 else 3))
        r, g = radial_distribution(frames)
        peak, minimum = first_shell(r, g)
        assert peak == pytest.approx(distance, abs=0.05)  # a bin
        density = 1 / (frames[0].get_volume() / len(frames[0]))
        inside = r < minimum
        assert np.sum(4 * np.pi * density * r[inside] ** 2 * g[inside]) * (r[1] - r[0]) == pytest.approx(n, rel=5e-3)
        assert distance < minimum < distance * np.sqrt(2 if n == 12 else 8 / 3)


def test_angles():
    angle, density = angles(thermal(bulk("Si", a=5.43, cubic=True).repeat(2), amplitude=0.02), 3.0)
    assert np.sum(density) * (angle[1] - angle[0]) == pytest.approx(1.0)
    assert np.sum(angle * density) * (angle[1] - angle[0]) == pytest.approx(109.47, abs=0.3)
    water = molecule("H2O", vacuum=5.0)
    _, of_water = angles([water], 1.2)
    assert angle[of_water.argmax()] == pytest.approx(water.get_angle(1, 0, 2), abs=1.0)  # half a bin
    assert not angles([water], 0.5)[1].any()


def test_diffusion_of_a_random_walk():
    """Steps of variance s² per direction every t: D = s²/2t.  One origin and 2000 walkers know the slope to some percent."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0.0, 0.1, (60, 2000, 3))
    frames = [Atoms("Ar2000", positions=p) for p in np.cumsum(steps, axis=0)]
    expected = 0.1**2 / 2 / 10 * 0.1  # Å²/fs is 0.1 cm²/s
    assert diffusion(frames, 10.0)["Ar"] == pytest.approx(expected, rel=0.06)


def test_dynamics_of_copper():
    start = bulk("Cu", cubic=True, a=3.6).repeat(2)
    members = tuple(EMT() for _ in range(3))
    found = motion_properties([start] * 4, Ensemble(EMT(), members), steps=100, timestep=2.0, random_state=1)
    assert float(found["coordination"]) == pytest.approx(12, abs=0.3)
    assert float(found["first_peak"]) == pytest.approx(3.6 / np.sqrt(2), abs=0.1)
    assert 50 < float(found["temperature"]) < 500
    assert abs(found["drift"].value) < 1e-2
    assert found["drift_per_step"].value == pytest.approx(found["drift"].value * 32 * 0.002)
    assert found["rdf"].std.max() < 1e-12  # four times the same potential and the same velocities
    assert abs(found["diffusion_Cu"].value) < 1e-4
    cluster = motion_properties([molecule("CH4")], Ensemble(EMT()), steps=100, timestep=0.5)
    assert "rdf" not in cluster


def test_advice_on_the_step():
    class Leaky(EMT):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["forces"] = self.results["forces"] + 0.2 * np.sign(self.atoms.get_velocities())

    assert step_advice(9e-4, 1.0) is None
    assert "Take steps of 0.5 fs, or a Langevin thermostat" in step_advice(-2e-3, 2.0)
    rattled = bulk("Cu", cubic=True, a=3.6).repeat(2)
    rattled.rattle(0.05, seed=0)  # no crystal any more: dynamics only
    leaky = measure_properties(Ensemble(Leaky()), rattled, steps=100, timestep=1.0)
    assert any("The energy drifts by +" in text for text in leaky.remarks)
    assert any("no crystal" in text for text in leaky.remarks)
    sound = measure_properties(Ensemble(EMT()), rattled, steps=100, timestep=1.0)
    assert not any("drifts" in text for text in sound.remarks)
    with pytest.raises(ValueError, match=r"`timestep` must be a number above 0 and at most 20"):
        measure_properties(Ensemble(EMT()), rattled, timestep=0.0)
    with pytest.raises(ValueError, match=r"`only` must be one of 'eos'"):
        measure_properties(Ensemble(EMT()), rattled, ["bands"])


def test_all_properties_of_copper_with_emt(tmp_path):
    """Energies of vacancy and surfaces against cells made by hand."""
    only = ["eos", "elastic", "vacancy", "surfaces"]
    found = measure_properties(Ensemble(EMT()), bulk("Cu", a=3.65), only)
    values = {row.name: row.value for row in property_rows(found)}
    from ase.build import fcc100, fcc111
    from ase.optimize import BFGS
    from ase.units import J, m

    a = values["a"]

    def energy(atoms, relaxed=True):
        atoms.calc = EMT()
        if relaxed:
            BFGS(atoms, logfile=None).run(fmax=1e-3)
        return atoms.get_potential_energy()

    per_atom = energy(bulk("Cu", a=a))
    big = bulk("Cu", a=a, cubic=True).repeat(3)
    hole = big.copy()
    del hole[13]
    assert values["vacancy_energy"] == pytest.approx(energy(hole) - 107 * per_atom, abs=2e-3)  # relaxed to 0.01 eV/Å
    for name, make in (("surface_energy_100", fcc100), ("surface_energy_111", fcc111)):
        slab = make("Cu", (1, 1, 8), a=a, vacuum=8.0)
        slab.pbc = (True, True, False)
        area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
        exact = (energy(slab) - 8 * per_atom) / 2 / area / (J / m**2)
        assert values[name] == pytest.approx(exact, rel=5e-3)  # thickness
    (tmp_path / "ref.json").write_text('{"a": 3.6, "C11": 170, "phonon_X_1": 5.0}')
    reference = read_reference(tmp_path / "ref.json", found)
    rows = {row.name: row for row in property_rows(found, reference)}
    assert rows["a"].reference == 3.6
    assert rows["a"].z is None
    (tmp_path / "ref.json").write_text('{"bulk_modulu": 3.6}')
    with pytest.raises(ValueError, match=r"Did you mean bulk_modulus\?"):
        read_reference(tmp_path / "ref.json", found)
    (tmp_path / "ref.json").write_text("a: 3.6")
    with pytest.raises(ValueError, match="must be JSON"):
        read_reference(tmp_path / "ref.json", found)


def test_slab_is_cut_where_planes_are_far_apart():
    """Diamond (111): through one bond an atom, not through three; the planes of the surface are a third of a bond apart."""
    from gapkit.validation import make_slab

    slab = make_slab(bulk("Si", a=5.43, cubic=True), (1, 1, 1))
    planes = np.unique(np.round(slab.positions[:, 2], 3))
    bond = 5.43 * np.sqrt(3) / 4
    assert planes[1] - planes[0] == pytest.approx(bond / 3, abs=2e-3)
    assert planes[2] - planes[1] == pytest.approx(bond, abs=2e-3)
    assert np.ptp(planes) > 12.0 - 5.43
    assert slab.cell[2, 2] - np.ptp(planes) == pytest.approx(15.0, abs=1e-3)  # planes are rounded


def test_what_a_compound_has_not():
    class Pairs(EMT):
        pass

    found = measure_properties(Ensemble(Pairs()), bulk("CuAu", "cesiumchloride", a=3.1), ["vacancy", "surfaces"])
    assert not found.properties
    assert sum("chemical potentials" in text for text in found.remarks) == 2


def test_units():
    names = ("a", "C11", "phonon_X_1", "surface_energy_100", "diffusion_Si", "coordination")
    assert [unit_of(name) for name in names] == ["Å", "GPa", "THz", "J/m²", "cm²/s", ""]


def test_a_failing_property_does_not_stop_the_others():
    class Torn(EMT):
        """Slabs fail."""

        def calculate(self, atoms=None, *args, **kwargs):
            if atoms is not None and not atoms.pbc.all():
                raise ValueError("no surfaces, please.")
            super().calculate(atoms, *args, **kwargs)

    found = measure_properties(Ensemble(Torn()), bulk("Cu", a=3.6), ["surfaces", "eos"])
    assert "a" in found.properties
    assert any("surfaces: failed. The relaxation of " in text for text in found.remarks)


def test_samples_whose_crystal_has_no_minimum_are_counted():
    class Bad(EMT):
        def calculate(self, *args, **kwargs):
            raise ValueError("no")

    e = Ensemble(EMT(), (EMT(), Bad(), EMT(), EMT()))
    with pytest.warns(NumericalWarning, match="1 of 4 samples of the posterior has no minimum"):
        found = measure_properties(e, bulk("Cu", a=3.6), ["eos"])
    assert found.properties["a"].std == pytest.approx(0.0, abs=1e-6)
