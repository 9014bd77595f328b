//! Two services that have no TLS (Redis and a Flask app, as Debian ships them) talk through network
//! shields, with certificates that the CAS issues, across renewals.

use std::time::Duration;

use mse_tests::redis_and_flask::RedisAndFlask;

/// Certificates live so long.
const LIFETIME: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn programs_without_tls_talk_mutual_tls_across_renewals() {
    let more = [("DB_ADDRESS", "127.0.0.1")];
    let services = RedisAndFlask::launch("network_shield", LIFETIME, &more).await;
    // Without a certificate of that CA there is no way in, nor without TLS.
    services.assert_closed_to(&["--tls", "--insecure"]);
    services.assert_closed_to(&[]);
    services.assert_served_across_renewals().await;
}
