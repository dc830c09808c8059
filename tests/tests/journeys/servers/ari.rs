//! An authority that says when to renew (RFC 9773).

use std::sync::Mutex;

use cara_api::Timestamp;
use cara_tests::acme::Pebble;
use cara_tests::eventually;
use jiff::ToSpan;
use serde_json::json;

use super::World;
use super::authority::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_when_the_authority_says() {
    let pebble = Pebble::start(1).await;
    let mut world = World::new(&pebble, Some(pebble.dns_program()), 1);
    // The first certificate that is asked for is to be renewed at once, all others tomorrow: years
    // before two thirds of what pebble's certificates live.
    let now = Timestamp::now();
    let tomorrow = [now + 24.hours(), now + 25.hours()];
    let first = Mutex::new(None);
    let mut authority = Authority::start(&pebble, "renewalInfo", move |id| {
        let mut first = first.lock().expect("an id");
        let is_first = first.get_or_insert_with(|| id.to_owned()) == id;
        let [start, end] = if is_first { [now; 2] } else { tomorrow };
        (
            200,
            json!({"suggestedWindow": {"start": start, "end": end}}),
        )
    })
    .await;
    world.acme.directory_url = authority.directory_url();

    let plane = world.plane().await;
    let hosts = ["*.a.cara.test", "*.dev.cara.test"];
    plane.claim("shop", hosts[0]).await;
    let [start, end] = tomorrow.map(|moment| moment.as_millisecond());
    for host in hosts {
        plane.obtained(host).await;
        eventually("the next try is within the window", async || {
            let found = plane.certificate(host).await?;
            let next: Timestamp = found["status"]["nextTry"].as_str()?.parse().ok()?;
            (start..=end).contains(&next.as_millisecond()).then_some(())
        })
        .await;
    }
    // This pebble says nothing of the predecessor in its answer, which must not hold up a renewal.
    assert_eq!(
        plane.orders(),
        (3.0, 0.0),
        "one for each host, and a renewal"
    );
    // Once for each certificate; then not before `Retry-After` has passed.
    let asked = authority.asked();
    let mut once = asked.clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), asked.len()), (3, 3), "{asked:?}");
    plane.stop().await;
}
