//! Two services that were never told of a CAS (Redis and a Flask app, as Debian ships them) talk
//! mutual TLS with certificates that the CAS issues, across renewals.

use std::time::Duration;

use mse_tests::redis_and_flask::RedisAndFlask;

/// Certificates live so long.
const LIFETIME: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_flask_talk_mutual_tls_across_renewals() {
    let services = RedisAndFlask::launch("mutual_tls", LIFETIME, &[]).await;
    services.assert_closed_to(&["--tls", "--insecure"]);
    services.assert_served_across_renewals().await;
}
