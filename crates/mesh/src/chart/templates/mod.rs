//! The files that are the same in every chart.

/// Helm's helpers, which the charts of services use.
pub(super) const HELPERS: &str = include_str!("helpers.tpl");
/// What Helm says when it has installed a mesh.
pub(super) const NOTES: &str = include_str!("NOTES.txt");

/// The templates in the chart of a service, by their names.
pub(super) const SERVICE: [(&str, &str); 6] = [
    ("deployment.yaml", include_str!("service/deployment.yaml")),
    (
        "networkpolicy.yaml",
        include_str!("service/networkpolicy.yaml"),
    ),
    (
        "persistentvolumeclaim.yaml",
        include_str!("service/persistentvolumeclaim.yaml"),
    ),
    (
        "poddisruptionbudget.yaml",
        include_str!("service/poddisruptionbudget.yaml"),
    ),
    ("service.yaml", include_str!("service/service.yaml")),
    (
        "serviceaccount.yaml",
        include_str!("service/serviceaccount.yaml"),
    ),
];

/// Begins the values of the mesh.
pub(super) const VALUES: &str = "\
# Made by `mse apply`; give other values with `helm --set` or `--values`.
# `global` is for all services; below the name of a service stands what is different from the values
# in charts/NAME/values.yaml. Nothing here is secret, and nothing here is trusted.
# `global.tee`: pods have run on `simulated` only, which protects nothing from whoever owns a node. To
# `tdx` and `snp` a CAS releases in machines that the Meshfile names (`policy.machines`), and never in
# Kata's as they are; to `sgx` never, since `mse apply` makes no rule for it.
";

/// Begins the values of a service.
pub(super) const SERVICE_VALUES: &str = "\
# Made by `mse apply`; the mesh gives other values below this chart's name.
# `workload` is measured: the CAS releases nothing to a pod that is told something else.
";
