"""Contract tests: what every descriptor and every kernel must obey, for gapkit's own and for yours.

from gapkit.testing import check_descriptor
def test_my_descriptor():
    check_descriptor(MyDescriptor())
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.geometry import complete_cell
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sklearn.base import clone

from .descriptors import Descriptor, Features
from .kernels import Kernel
from .neighbors import NeighborList

__all__ = ["check_descriptor", "check_kernel", "example_structures"]

Array = NDArray[np.float64]

_INVARIANCE = 1e-10  # of the largest feature: rounding in sums of up to a few hundred neighbours
_DERIVATIVE = 1e-6  # central differences with a step of 1e-4 Å: truncation and rounding both stay below


def example_structures() -> list[Atoms]:
    """Rattled and sheared structures of two species: periodic in 3, 2 and 0 directions, and one below the cutoff."""
    rng = np.random.default_rng(7)
    crystal = bulk("NaCl", "rocksalt", a=5.3, cubic=True)
    crystal.set_cell(crystal.cell.array @ (np.eye(3) + 0.1 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    crystal.positions += rng.normal(0.0, 0.15, crystal.positions.shape)
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    molecule = crystal.copy()
    molecule.pbc = False
    molecule.cell = None
    small = bulk("NaCl", "rocksalt", a=5.3)
    small.positions += rng.normal(0.0, 0.1, small.positions.shape)
    small.rotate(33.0, (1, 2, 3), rotate_cell=True)  # lattice vectors off the axes
    return [crystal, slab, molecule, small]


def check_descriptor(descriptor: Descriptor, structures: Sequence[Atoms] | None = None) -> None:
    """Assert that a descriptor obeys the contract.

    Checked are: parameters survive clone and pickle; structures are not changed; rotation, translation by lattice vectors
    (unwrapped positions), permutation and supercells; smoothness when a neighbour crosses the cutoff; the Jacobian
    against finite differences; `pullback` against the Jacobian; blocks of centres against the whole.

    Parameters
    ----------
    descriptor : Descriptor
        Not fitted; not changed.
    structures : sequence of ase.Atoms, optional
        Structures to use; default `example_structures`.

    Raises
    ------
    AssertionError
        If the contract is broken.
    """
    frames = list(structures or example_structures())
    before = [atoms.copy() for atoms in frames]
    fitted = clone(descriptor).fit(frames)
    assert repr(pickle.loads(pickle.dumps(fitted))) == repr(fitted)
    values = [fitted.transform([atoms]) for atoms in frames]
    for old, new in zip(before, frames, strict=True):
        assert_array_equal(old.positions, new.positions)
        assert_array_equal(old.cell.array, new.cell.array)
        assert_array_equal(old.pbc, new.pbc)
    for atoms, value in zip(frames, values, strict=True):
        assert value.shape[1] == fitted.n_features == len(fitted.get_feature_names_out())
        _check_invariances(fitted, atoms)
        _check_derivatives(fitted, atoms)
    _check_cutoff(fitted, frames[0])


def _check_invariances(fitted: Descriptor, atoms: Atoms) -> None:
    """Environments of pairs and triplets come in any order: their sums by group are compared."""

    def of(structure: Atoms) -> Array:
        return fitted.transform([structure]) if fitted.one_per_atom else _group_sums(fitted, structure)

    rng = np.random.default_rng(3)
    value = of(atoms)
    tolerance = _INVARIANCE * np.abs(value).max()
    rotated = atoms.copy()
    matrix = Rotation.random(random_state=5).as_matrix()
    rotated.set_cell(atoms.cell.array @ matrix.T)
    rotated.positions = atoms.positions @ matrix.T
    assert_allclose(of(rotated), value, rtol=0, atol=tolerance, err_msg="rotation")
    shifted = atoms.copy()
    shifts = rng.integers(-3, 4, (len(atoms), 3)) * atoms.pbc
    shifted.positions += shifts @ complete_cell(atoms.cell.array) + 0.37
    assert_allclose(of(shifted), value, rtol=0, atol=tolerance, err_msg="unwrapped positions")
    order = rng.permutation(len(atoms))
    permuted = value[order] if fitted.one_per_atom else value
    assert_allclose(of(atoms[order]), permuted, rtol=0, atol=tolerance, err_msg="permutation")
    repeats = [2 if periodic else 1 for periodic in atoms.pbc]
    copies = int(np.prod(repeats))
    repeated, times = (np.tile(value, (copies, 1)), 1) if fitted.one_per_atom else (copies * value, copies)
    assert_allclose(of(atoms.repeat(repeats)), repeated, rtol=0, atol=times * tolerance, err_msg="supercell")


def _group_sums(fitted: Descriptor, atoms: Atoms) -> Array:
    """Weighted sums of the features, of their squares and of 1 over the environments of each group."""
    features = fitted.compute(NeighborList.from_atoms([atoms], fitted.neighbor_range))
    weights = features.weights_or_ones
    moments = (_without_order(fitted, features.values**power) for power in (1, 2))
    columns = np.column_stack([np.ones(len(weights)), *moments])
    result = np.zeros((len(fitted.group_names_), columns.shape[1]))
    np.add.at(result, features.groups, weights[:, None] * columns)
    return result


def _without_order(fitted: Descriptor, rows: Array) -> Array:
    """Mean over the orders of features that mean the same, where a descriptor of clusters has them."""
    permutations = getattr(fitted, "permutations", None)
    return rows if permutations is None else rows[:, permutations].mean(axis=1)


def _check_derivatives(fitted: Descriptor, atoms: Atoms, step: float = 1e-4) -> None:
    """Jacobian and pullback against central differences of a random contraction, for one atom and one strain."""
    neighbors = NeighborList.from_atoms([atoms], fitted.neighbor_range)
    features = fitted.compute(neighbors, jacobian=True)
    assert features.jacobian is not None
    rng = np.random.default_rng(1)
    directions = _without_order(fitted, rng.standard_normal((len(fitted.group_names_), features.values.shape[1])))
    if fitted.one_per_atom:
        directions = rng.standard_normal(features.values.shape)

    def contraction(found: Features) -> tuple[float, Array, Array | None]:
        """sum_e w_e x_e·d with its derivatives by x and w; environments of pairs and triplets come in any order."""
        along = directions if fitted.one_per_atom else directions[found.groups]
        inner = np.einsum("ef,ef->e", found.values, along)
        if found.weights is None:
            return float(inner.sum()), along, None
        return float(found.weights @ inner), found.weights[:, None] * along, inner

    _, of_values, of_weights = contraction(features)
    gradient = fitted.pullback(features, of_values, of_weights)
    environment = np.repeat(np.arange(len(of_values)), np.diff(features.first))
    entries = np.einsum("qcf,qf->qc", features.jacobian, of_values[environment])
    if of_weights is not None and features.weight_gradient is not None:
        entries += of_weights[environment, None] * features.weight_gradient
    contracted = np.zeros_like(gradient)
    np.add.at(contracted, features.pairs - features.block.start, entries)
    scale = max(1.0, float(np.abs(contracted).max(initial=0.0)))
    assert_allclose(gradient, contracted, rtol=0, atol=1e-10 * scale, err_msg="pullback")
    half = fitted.compute(neighbors, centers=slice(0, len(atoms) // 2))
    assert_allclose(half.values, features.values[: len(half.values)], rtol=0, atol=1e-14, err_msg="block of centres")

    def energy(moved: Atoms) -> float:
        return contraction(fitted.compute(NeighborList.from_atoms([moved], fitted.neighbor_range)))[0]

    for atom, axis in ((0, 1), (len(atoms) - 1, 2)):
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[atom, axis] += step
        minus.positions[atom, axis] -= step
        numeric = (energy(plus) - energy(minus)) / (2 * step)
        into, out_of = neighbors.neighbors == atom, neighbors.centers == atom
        exact = gradient[into, axis].sum() - gradient[out_of, axis].sum()
        assert abs(exact - numeric) <= _DERIVATIVE * scale, f"derivative of atom {atom}: {exact} is not {numeric}"
    for a, b in ((0, 0), (1, 2)):
        deformed = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ strain)
            copy.positions = atoms.positions @ strain
            deformed.append(copy)
        numeric = (energy(deformed[0]) - energy(deformed[1])) / (2 * step)
        exact = float(neighbors.vectors[:, a] @ gradient[:, b])
        size = scale * max(1.0, float(np.abs(neighbors.vectors).max(initial=0.0)) * np.sqrt(len(gradient)))
        assert abs(exact - numeric) <= _DERIVATIVE * size, f"strain derivative {a}{b}: {exact} is not {numeric}"


def _check_cutoff(fitted: Descriptor, atoms: Atoms) -> None:
    """Value and slope change without a jump when the second atom of a pair crosses the range."""
    if getattr(fitted, "cutoff_width", 1.0) is None:
        return  # a step was asked for
    species = atoms.numbers[:2]
    reach = fitted.neighbor_range

    def at(distance: float) -> Array:
        third = [0.0, 1.9, 0.3]
        cluster = Atoms(numbers=[*species, species[0]], positions=[[0, 0, 0], [distance, 0, 0], third])
        return fitted.transform([cluster])[0] if fitted.one_per_atom else _group_sums(fitted, cluster).ravel()

    step = 1e-4
    outside, edge, inside, further = (at(reach + k * step) for k in (1, -0.001, -1, -2))
    scale = max(np.abs(outside).max(), np.abs(at(0.8 * reach)).max())
    assert np.abs(edge - outside).max() <= 1e-9 * scale, "value jumps at the cutoff"
    slope_inside = np.abs(further - inside).max() / step
    assert slope_inside <= 1e-2 * scale, "slope jumps at the cutoff"


def check_kernel(kernel: Kernel, n_features: int = 6) -> None:
    """Assert that a kernel obeys the contract.

    Checked are: symmetry, the diagonal, positive semi-definiteness, `slopes` against finite differences, the gradient with
    respect to ``theta``, clone and pickle.

    Parameters
    ----------
    kernel : Kernel
        The kernel.
    n_features : int, default 6
        Dimension of the test vectors.

    Raises
    ------
    AssertionError
        If the contract is broken.
    """
    rng = np.random.default_rng(11)
    x, s = (np.abs(rng.standard_normal((n, n_features))) for n in (7, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    s /= np.linalg.norm(s, axis=1, keepdims=True) * 0.9
    kernel.check_parameters()
    for copy in (clone(kernel), pickle.loads(pickle.dumps(kernel))):
        assert repr(copy) == repr(kernel)
        assert_array_equal(copy(x, s), kernel(x, s))
    assert_allclose(kernel.clone_with_theta(kernel.theta)(x, s), kernel(x, s), rtol=1e-13)  # theta is a logarithm
    matrix = kernel(x)
    assert_allclose(matrix, matrix.T, rtol=0, atol=1e-15)
    assert_allclose(kernel.diag(x), np.diag(matrix), rtol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12 * matrix.max()
    a, b = kernel.slopes(x, s)
    value, a2, b2 = kernel.value_and_slopes(x, s)
    assert_allclose(value, kernel(x, s), rtol=1e-13)
    assert_array_equal(a, a2)
    assert_array_equal(b, np.zeros_like(a) if b2 is None else b2)
    step = 1e-6
    for f in range(n_features):
        moved = step * np.eye(n_features)[f]
        numeric = (kernel(x + moved, s) - kernel(x - moved, s)) / (2 * step)
        assert_allclose(a * s[None, :, f] + b * x[:, f, None], numeric, rtol=0, atol=1e-8, err_msg="slopes")
        # curvature: the slopes at moved s, along feature f
        plus, minus = (kernel.slopes(x, s + sign * moved) for sign in (1, -1))
        c0, c1, c2, c3, c4 = kernel.curvature(x, s)
        for g in range(n_features):
            at = [p[0] * (s[None, :, g] + sign * moved[g]) + p[1] * x[:, g, None] for sign, p in ((1, plus), (-1, minus))]
            numeric = (at[0] - at[1]) / (2 * step)
            xg, sg, xf, sf = x[:, g, None], s[None, :, g], x[:, f, None], s[None, :, f]
            exact = c0 * (f == g) + c1 * sg * xf + c2 * sg * sf + c3 * xg * xf + c4 * xg * sf
            assert_allclose(exact, numeric, rtol=0, atol=1e-7, err_msg="curvature")
    _, gradient = kernel(x, eval_gradient=True)
    for k in range(len(kernel.theta)):
        moved = step * np.eye(len(kernel.theta))[k]
        high, low = (kernel.clone_with_theta(kernel.theta + sign * moved)(x) for sign in (1, -1))
        assert_allclose(gradient[:, :, k], (high - low) / (2 * step), rtol=0, atol=1e-8, err_msg="theta gradient")
