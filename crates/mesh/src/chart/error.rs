//! Why there is no chart of a mesh.

use crate::model::ServiceName;

/// Why there is no chart of a mesh.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The chart would have an impossible name.
    #[error(
        "`--release` is `{}`: Kubernetes wants at most 53 characters of `a`-`z`, `0`-`9` and `-`, with a letter in front and no `-` at the end",
        mse_yaml::shown(.0)
    )]
    Release(String),
    /// Names of Services are stricter than those of services.
    #[error(
        "`services[].name` is `{0}`: in Kubernetes a name begins with a letter; give the service another `name`"
    )]
    Name(ServiceName),
    /// A name that charts use themselves.
    #[error(
        "`services[].name` is `{0}`, which stands for all services in the values of a chart; give the service another `name`"
    )]
    Reserved(ServiceName),
    /// An image that may be another one tomorrow.
    #[error("the image of `{0}` has no digest: apply the Meshfile with images that were pushed")]
    NoDigest(ServiceName),
    /// A service of the plan that the Meshfile does not have, or the other way round.
    #[error("the plan is not one of this Meshfile: `{0}` is in one of them only")]
    OtherPlan(ServiceName),
    /// Objects are for one TEE, and the mesh was compiled for any.
    #[error(
        "`helm_extra_values.global.tee` is not set, and manifests are for one TEE: set it to `sgx`, `tdx` or `snp`"
    )]
    NoTee,
    /// Values that YAML does not have.
    #[error("the values of the chart cannot be written: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}
