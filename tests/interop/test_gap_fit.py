"""Command lines of gap_fit as records: every way to write them, and mistakes."""

from __future__ import annotations

import pytest

from gapkit.exceptions import ConfigError, NumericalWarning
from gapkit.interop.gap_fit import Sigmas, read_gap_fit

PAIR = "distance_2b cutoff=4.0 covariance_type=ard_se theta_uniform=1.0 delta=0.5 n_sparse=10 sparse_method=uniform"
SOAP = "soap cutoff=4.0 n_max=4 l_max=3 atom_sigma=0.5 covariance_type=dot_product zeta=4 delta=1.0 n_sparse=50"
PLAIN = f"at_file=train.xyz gap={{{PAIR} : {SOAP}}} default_sigma={{0.001 0.05 0.1 0.0}}"


def test_defaults():
    found = read_gap_fit(PLAIN)
    pair, soap = found.descriptors
    assert (pair.name, pair.kernel, pair.delta, pair.theta_uniform, pair.zeta) == ("distance_2b", "ard_se", 0.5, 1.0, None)
    assert (pair.n_sparse, pair.sparse_method, pair.add_species, pair.f0) == (10, "uniform", True, 0.0)
    assert (soap.name, soap.kernel, soap.zeta, soap.sparse_method) == ("soap", "dot_product", 4.0, "random")
    assert soap.text == SOAP
    assert found.default_sigma == Sigmas(0.001, 0.05, 0.1, 0.0)
    assert (found.atoms_filename, found.gap_file, found.core_ip_args) == ("train.xyz", "gap_new.xml", "")
    assert (found.sparse_jitter, found.rnd_seed, found.sigma_per_atom) == (1e-10, -1, True)
    assert (found.e0, found.e0_method, found.e0_offset) == (None, "isolated", 0.0)
    names = ("energy", "force", "virial", "stress", "hessian", "local_property", "config_type", "sigma", "force_mask")
    assert found.keys == {name: name for name in names}
    assert found.named == set()


@pytest.mark.parametrize(
    "text",
    [
        "gap_fit " + PLAIN,
        "OMP_NUM_THREADS=4 mpirun -np 2 /opt/bin/gap_fit " + PLAIN,
        f"gap_fit at_file=train.xyz \\\n  'gap={{{PAIR} : {SOAP}}}' \\\n \"default_sigma={{0.001 0.05 0.1 0.0}}\"",
        f"at_file=train.xyz gap='{{{PAIR}:{SOAP}}}' default_sigma='0.001 0.05 0.1 0.0'",
        f"atoms_filename=train.xyz\ngap={{ {PAIR} ; {SOAP} }}\ndefault_kernel_regularisation={{1d-3 5.D-2 0.1 0}}",
        "at_file=other.xyz default_sigma={1 2 3 4} " + PLAIN,  # the last counts
        PLAIN.replace("at_file", "AT_FILE").replace("default_sigma", "Default_Sigma"),
        PLAIN + " do_copy_at_file=F sparse_separate_file=T verbosity=NERD linear_system_dump_file=a mpi_blocksize_cols=7",
        "#!/bin/bash\nexport OMP_NUM_THREADS=1\ngap_fit " + PLAIN,
    ],
)
def test_ways_to_write_it(text):
    assert read_gap_fit(text) == read_gap_fit(PLAIN)


def test_a_file_counts_alone(tmp_path):
    (tmp_path / "fit.conf").write_text(PLAIN.replace(" ", "\n"))
    assert read_gap_fit("config_file=fit.conf sparse_jitter=1e-3 at_file=other.xyz", tmp_path) == read_gap_fit(PLAIN)
    with pytest.raises(FileNotFoundError, match=r"`config_file` must exist; there is no .*none.conf"):
        read_gap_fit("config_file=none.conf", tmp_path)
    (tmp_path / "part.conf").write_text("sparse_jitter=1e-3")
    with pytest.raises(ConfigError, match="must hold 'gap'; missing in"):
        read_gap_fit("config_file=part.conf " + PLAIN, tmp_path)


def test_everything_else():
    found = read_gap_fit(
        PLAIN + " energy_parameter_name=dft_energy parameter_name_prefix=my_ sigma_parameter_name=reg e0={Si:-158.5:O:-4.32D2} "
        "e0_offset=0.5 config_type_sigma={bulk:1:2:3:4 : liquid:5:6:7:8} sigma_per_atom=F sparse_jitter=1e-8 rnd_seed=7 "
        "gp_file=a.xml core_ip_args={IP Glue} core_param_file=core.xml"
    )
    assert (found.keys["energy"], found.keys["force"], found.keys["sigma"]) == ("my_dft_energy", "my_force", "my_reg")
    assert found.named == {"energy", "sigma"}
    assert (found.e0, found.e0_offset) == ({"Si": -158.5, "O": -432.0}, 0.5)
    assert found.sigmas_of("liquid") == Sigmas(5.0, 6.0, 7.0, 8.0)
    assert found.sigmas_of("other") == found.sigmas_of("") == found.default_sigma
    assert (found.sigma_per_atom, found.sparse_jitter, found.rnd_seed, found.gap_file) == (False, 1e-8, 7, "a.xml")
    assert (found.core_ip_args, found.core_param_file) == ("IP Glue", "core.xml")
    assert read_gap_fit(PLAIN + " config_type_sigma={default:1:2:3:4}").sigmas_of("") == Sigmas(1.0, 2.0, 3.0, 4.0)
    assert read_gap_fit(PLAIN + " e0=-1.5").e0 == -1.5


def test_lists_inside_braces():
    """gap_fit takes one pair of braces off each value of a descriptor."""
    first = "angle_3b cutoff=3.0 covariance_type=gaussian theta_fac={{0.5 0.6 0.7}} delta=1 n_sparse=5 sparse_method=uniform"
    second = SOAP + " add_species=F Z=14 n_species=2 species_Z={{14 8}} config_type_n_sparse={{bulk:5:liquid:6}}"
    triplet, soap = read_gap_fit(f"at_file=a gap={{{first}:{second}}} default_sigma={{1 1 1 1}}").descriptors
    assert triplet.theta_fac == [0.5, 0.6, 0.7]
    assert "theta_fac={0.5 0.6 0.7} delta" in triplet.text
    assert "species_Z={14 8} config_type" in soap.text
    assert (soap.add_species, soap.config_type_n_sparse) == (False, "bulk:5:liquid:6")
    single = first.replace("{{", "{").replace("}}", "}")
    with pytest.warns(NumericalWarning, match=r"takes one pair of braces off .* it skips 0.6, 0.7 in .* double braces"):
        (one,) = read_gap_fit(f"at_file=a gap={{{single}}} default_sigma={{1 1 1 1}}").descriptors
    assert one.theta_fac == [0.5]
    assert "0.6" not in one.text


def test_unknown_keys_are_named():
    with pytest.warns(NumericalWarning, match=r"no option 'sparse_jiter'; it is ignored\. Did you mean 'sparse_jitter'"):
        read_gap_fit(PLAIN + " sparse_jiter=1e-3")
    with pytest.warns(NumericalWarning, match=r"no option 'foo'; it is ignored\.$"):
        read_gap_fit(PLAIN + " foo=1e-3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("}", "", 1), "must close every brace and quotation mark; '}' is missing"),
        ("at_file=train.xyz default_sigma={1 1 1 1}", "must hold 'gap'; missing in"),
        (PLAIN.replace("at_file=train.xyz", ""), "must hold 'atoms_filename'; missing in"),
        (PLAIN.replace("default_sigma", "sigma"), "must hold 'default_sigma'; missing in"),
        (PLAIN.replace(" 0.1 0.0}", "}"), "`default_sigma` must be 4 numbers; got '0.001 0.05'"),
        (PLAIN.replace("0.001", "small"), "`default_sigma` must be numbers; got 'small"),
        ("at_file=a gap={} default_sigma={1 1 1 1}", "`gap` must be"),
        (PLAIN.replace("ard_se", "matern"), "`covariance_type` must be one of ard_se, gaussian, dot_product, pp; got 'matern'"),
        (PLAIN.replace("covariance_type=ard_se", ""), "must hold 'covariance_type'; missing in"),
        (PLAIN.replace("delta=0.5", ""), "must hold 'delta or energy_scale'; missing in"),
        (PLAIN.replace("delta=0.5", "delta=0"), "`delta` must be above 0; got 0.0"),
        (PLAIN.replace("theta_uniform=1.0", ""), "ard_se must come with one of theta_uniform, theta_fac and theta_file"),
        (PLAIN.replace("theta_uniform=1.0", "theta_uniform=1.0 theta_fac=1"), "and with none of the others"),
        (PLAIN.replace("theta_uniform=1.0", "zeta=2"), "ard_se must come with one of theta_uniform, theta_fac and theta_file"),
        (PLAIN.replace("theta_uniform=1.0", "theta_uniform=0"), "`theta` must be above 0; got 0.0"),
        (PLAIN.replace("zeta=4", "theta_uniform=1.0"), "dot_product must come with zeta, and with none of the others"),
        (PLAIN.replace("n_sparse=50", ""), "`n_sparse` must be at least 1; got 0. It is in 'soap"),
        (PLAIN.replace("=uniform", "=best"), "`sparse_method` must be one of none, random, .*; got 'best'"),
        (PLAIN.replace("=uniform", "=uniq"), "`sparse_method` must be one of none, random, .*; got 'uniq'"),
        (PLAIN.replace("=uniform", "=file"), "must hold 'sparse_file'; missing in"),
        (PLAIN + " config_type_sigma={bulk:1:2:3}", "`config_type_sigma` must be '?{type:energy:force:virial:hessian"),
        (PLAIN + " config_type_sigma={my bulk:1:2:3:4:a:1:2:3}", "Names of types hold neither blanks nor colons"),
        (PLAIN + " e0={Si}", "`e0` must be a number .* or {Si:-158.5:O:-432.1}; got 'Si'"),
        (PLAIN + " e0={Si:O}", "`e0` must be"),
        (PLAIN + " e0_method=fitted", "`e0_method` must be one of 'isolated', 'average'; got 'fitted'"),
        (PLAIN + " sigma_per_atom=yes", "`sigma_per_atom` must be T or F; got 'yes'"),
        (PLAIN + " rnd_seed=1.5", "`rnd_seed` must be integers; got '1.5'"),
        (PLAIN + " sparsify_only_no_fit=T", "`sparsify_only_no_fit` must be F; got 'T'"),
        (PLAIN + " dryrun=T", "`dryrun` must be F; got 'T'. gapkit estimate"),
        (PLAIN + " local_property0=1.0", "does not fit local properties"),
    ],
)
@pytest.mark.filterwarnings("ignore:gap_fit has no option 'sigma'")
def test_mistakes(text, message):
    with pytest.raises(ValueError, match=message):
        read_gap_fit(text)
