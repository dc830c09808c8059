//! Whose `Date` a client gets, which is the one thing that differs between the ways.

use crate::claims::over_http_2;
use crate::fastpath::both_ways;
use crate::support::Service;

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test]
async fn the_short_way_over_http_1_keeps_the_date_of_a_service() {
    let answer = format!("HTTP/1.1 200 OK\r\nDate: {OLD}\r\nContent-Length: 2\r\n\r\nok");
    let service = Service::start(answer).await;
    let edge = both_ways(&service).await;
    for (path, is_kept) in [("/plain", true), ("/other", false)] {
        let answer = edge.ask("GET", path, &[]).await;
        let date = answer.header("date").expect("one");
        assert_eq!(date == OLD, is_kept, "HTTP/1 {path}: {date}");
        let head = over_http_2(&edge, path, &[]).await;
        let mut dates = head.headers().get_all("date").iter();
        assert!(
            dates.next().is_some_and(|date| date != OLD),
            "HTTP/2 {path}"
        );
        assert_eq!(dates.next(), None, "HTTP/2 {path}");
    }
}
