"""SOAP as its formulas read: plain NumPy, one pair at a time, with derivatives.  Slow and obvious; the truth of the tests."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.special import gamma, sph_harm_y


def gto(r: float, l: int, r_cut: float, n_max: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Smeared radial functions and slopes, in double precision (good to 1e-12 up to n_max = 6)."""
    a = np.linspace(1.0, r_cut, n_max) if n_max > 1 else np.array([1.0])
    alpha = (np.log(1000.0) + l * np.log(a)) / a**2
    overlap = gamma(l + 1.5) / 2 * (alpha[:, None] + alpha) ** -(l + 1.5)
    beta = np.real(scipy.linalg.sqrtm(scipy.linalg.inv(overlap)))
    eta = 0.5 / sigma**2
    q = alpha * eta / (alpha + eta)
    e = (np.pi / eta) ** 1.5 * (eta / (eta + alpha)) ** (l + 1.5) * np.exp(-q * r**2)
    slope = (l * r ** (l - 1) if l else 0.0) - 2 * q * r ** (l + 1)
    return beta @ (r**l * e), beta @ (slope * e)


def cutoff(r: float, r_cut: float, width: float | None) -> tuple[float, float]:
    if width is None or r <= r_cut - width:
        return 1.0, 0.0
    if r >= r_cut:
        return 0.0, 0.0
    k = np.pi / width
    return 0.5 * (1 + np.cos(k * (r - r_cut + width))), -0.5 * k * np.sin(k * (r - r_cut + width))


def real_harmonics(vector: np.ndarray, l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Real Y_lm and their Cartesian gradients, from SciPy's complex ones in angles."""
    x, y, z = vector
    r, rho = np.linalg.norm(vector), np.hypot(x, y)
    theta, phi = np.arctan2(rho, z), np.arctan2(y, x)
    e_theta = np.array([x * z / rho, y * z / rho, -rho]) / r
    e_phi = np.array([-y, x, 0.0]) / rho
    values, gradients = [], []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            y_lm, gradient = sph_harm_y(l, abs(m), theta, phi, diff_n=1)
            complex_gradient = gradient[0] * e_theta / r + gradient[1] * e_phi / rho
            part, factor = (np.imag if m < 0 else np.real), (1.0 if m == 0 else np.sqrt(2.0))
            values.append(factor * part(y_lm))
            gradients.append(factor * part(complex_gradient))
    return np.array(values), np.array(gradients)


def soap(
    atoms: Atoms,
    species: list[int],
    r_cut: float,
    n_max: int,
    l_max: int,
    sigma: float,
    width: float | None,
    normalize: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, d), derivatives with respect to atoms (N, N, 3, d) and to strain (N, 3, 3, d)."""
    n, reach = len(atoms), r_cut if width is not None else r_cut + sigma * np.sqrt(2 * np.log(1000.0))
    c = np.zeros((n, len(species), (l_max + 1) ** 2, n_max))
    dc = np.zeros((n, n, 3, *c.shape[1:]))
    dc_strain = np.zeros((n, 3, 3, *c.shape[1:]))
    for i in range(n):
        g, _ = gto(0.0, 0, r_cut, n_max, sigma)
        c[i, species.index(atoms.numbers[i]), 0] += g * cutoff(0.0, r_cut, width)[0] / np.sqrt(4 * np.pi)
    for i, j, vector in zip(*neighbor_list("ijD", atoms, reach), strict=True):
        r, s = np.linalg.norm(vector), species.index(atoms.numbers[j])
        y, dy = real_harmonics(vector, l_max)
        f, df = cutoff(r, r_cut, width)
        for l in range(l_max + 1):
            g, dg = gto(r, l, r_cut, n_max, sigma)
            for lm in range(l * l, (l + 1) ** 2):
                c[i, s, lm] += f * g * y[lm]
                slope = np.outer(vector / r, (df * g + f * dg) * y[lm]) + np.outer(dy[lm], f * g)  # (3, n)
                dc[i, j, :, s, lm] += slope
                dc[i, i, :, s, lm] -= slope
                dc_strain[i, :, :, s, lm] += vector[:, None, None] * slope[None]
    p, dp, dp_strain = [], [], []
    for s1 in range(len(species)):
        for s2 in range(s1, len(species)):
            for l in range(l_max + 1):
                lm = slice(l * l, (l + 1) ** 2)
                for n1 in range(n_max):
                    for n2 in range(n1 if s1 == s2 else 0, n_max):
                        factor = np.pi * np.sqrt(8 / (2 * l + 1))
                        if normalize and (s1 != s2 or n1 != n2):
                            factor *= np.sqrt(2)
                        a, b = c[:, s1, lm, n1], c[:, s2, lm, n2]
                        p.append(factor * np.sum(a * b, axis=1))
                        for d, out in ((dc, dp), (dc_strain, dp_strain)):
                            da, db = d[..., s1, lm, n1], d[..., s2, lm, n2]
                            out.append(
                                factor * (np.sum(da * b[:, None, None], axis=-1) + np.sum(a[:, None, None] * db, axis=-1))
                            )
    x, dx, dx_strain = np.array(p).T, np.moveaxis(np.array(dp), 0, -1), np.moveaxis(np.array(dp_strain), 0, -1)
    if normalize:
        norm = np.linalg.norm(x, axis=1)
        x = x / norm[:, None]
        dx, dx_strain = (
            (d - x[:, None, None] * np.einsum("if,i...f->i...", x, d)[..., None]) / norm[:, None, None, None]
            for d in (dx, dx_strain)
        )
    return x, dx, dx_strain
