"""QUIP's XML of a model of pairs, triplets and SOAP, without gapkit's own writer."""

from __future__ import annotations

from pathlib import Path

from ase.data import atomic_numbers

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, PiecewisePolynomial, TwoBody
from gapkit.kernels import Kernel

_NUMBERS_A_SLICE = 40  # QUIP reads 1024 characters at once


def quip_xml(model: GAPRegressor, path: Path, leave_out: str = "") -> Path:
    """Write it, without the group of environments ``leave_out``; features must not be scaled."""
    coordinates: list[str] = []
    species = sorted(atomic_numbers[symbol] for symbol in model.species_)
    for term, alphas in zip(model.potential_.terms, model.potential_.coefficients, strict=True):
        for group, name in enumerate(term.descriptor.group_names_):
            if name == leave_out:
                continue
            lines, (n, d) = [], term.points[group].shape
            lines.append(
                f'<gpCoordinates label="GAP_1{len(coordinates) + 1}" dimensions="{d}" signal_variance="{term.delta}" '
                f'signal_mean="0.0" sparsified="T" n_permutations="1" {_kind(term.kernel)} n_sparseX="{n}">'
            )
            if not isinstance(term.kernel, DotProduct):
                lines.append(f"<theta>{' '.join([str(term.kernel.length_scale)] * d)}</theta>")
            lines.append(f"<descriptor>{_text(term.descriptor, name, species)}</descriptor>")
            lines.append(f'<permutation i="1">{" ".join(map(str, range(1, d + 1)))}</permutation>')
            for i, (x, cutoff, alpha) in enumerate(zip(term.points[group], term.weights[group], alphas[group], strict=True), 1):
                of_quip = float(alpha / term.delta**2)
                lines.append(f'<sparseX i="{i}" alpha="{of_quip!r}" sparseCutoff="{float(cutoff)!r}" sliced="T">')
                for start in range(0, d, _NUMBERS_A_SLICE):
                    part = [repr(float(value)) for value in x[start : start + _NUMBERS_A_SLICE]]
                    head = f'<sparseX_slice start="{start + 1}" end="{start + len(part)}">'
                    lines.append(f"{head}{' '.join(part)}</sparseX_slice>")
                lines.append("</sparseX>")
            coordinates.append("\n".join([*lines, "</gpCoordinates>"]))
    e0 = "".join(f'<e0 Z="{z}" value="{energy!r}"/>' for z, energy in model.potential_.e0.items())
    lines = [
        '<GAP_1><Potential label="GAP_1" init_args="IP GAP label=GAP_1"/>',
        '<GAP_params label="GAP_1" gap_version="1596837814">',
        f'<GAP_data do_core="F">{e0}</GAP_data>',
        f'<gpSparse label="GAP_1" n_coordinate="{len(coordinates)}" fitted="T">',
        *coordinates,
        "</gpSparse></GAP_params></GAP_1>",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def _kind(kernel: Kernel) -> str:
    if isinstance(kernel, DotProduct):
        return f'covariance_type="2" zeta="{kernel.zeta}.0"'
    return {RBF: 'covariance_type="1"', PiecewisePolynomial: 'covariance_type="4"'}[type(kernel)]


def _text(descriptor, name: str, species: list[int]) -> str:
    z = [atomic_numbers[symbol] for symbol in name.split("-")]
    common = f"cutoff={descriptor.r_cut} cutoff_transition_width={descriptor.cutoff_width}"
    if isinstance(descriptor, SOAP):
        basis = f"n_max={descriptor.n_max} l_max={descriptor.l_max} atom_sigma={descriptor.sigma}"
        listed = f"n_species={len(species)} species_Z={{{' '.join(map(str, species))}}}"
        return f"soap {common} {basis} Z={z[0]} {listed} central_reference_all_species=F"
    if isinstance(descriptor, TwoBody):
        return f"distance_2b {common} Z1={z[0]} Z2={z[1]}"
    return f"angle_3b {common} Z={z[1]} Z1={z[0]} Z2={z[2]}"
