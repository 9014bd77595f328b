//! The values that all services share.

use serde_json::{Value, json};

use super::Installation;

/// Where nodes have the simulated platform, unless the values say otherwise.
const PLATFORM: &str = "/var/lib/mse/platform";
/// Names of the nodes' DNS servers are asked in this namespace, or at the cache of each node.
const DNS_NAMESPACE: &str = "kube-system";
const DNS_CACHE: &str = "169.254.20.10/32";

pub(super) fn values(installation: &Installation<'_>) -> Value {
    json!({
        "mesh": installation.name,
        "cas": installation.cas,
        "tee": if installation.simulated { "simulated" } else { "" },
        "simulated": {"platform": PLATFORM},
        "runtimeClasses": {"tdx": "kata-qemu-tdx", "snp": "kata-qemu-snp"},
        "sgx": {
            "resources": {"sgx.intel.com/enclave": 1, "sgx.intel.com/epc": "128Mi"},
            "tolerations": [{"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "imagePullSecrets": [],
        "networkPolicy": {
            "dns": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": DNS_NAMESPACE}}},
                {"ipBlock": {"cidr": DNS_CACHE}},
            ],
            "cas": [],
        },
    })
}
