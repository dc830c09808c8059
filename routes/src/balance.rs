//! Choice of an endpoint.

use std::net::SocketAddr;

/// The endpoint for a request. `turn` is a number that differs from request to request;
/// consecutive turns visit all endpoints in order. `failed` did not answer a moment ago and is
/// left out, also when it is the only one: trying it again at once would fail again.
pub fn pick(
    endpoints: &[SocketAddr],
    turn: usize,
    failed: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let count = endpoints.len();
    let order = (0..count).filter_map(|step| endpoints.get((turn % count + step) % count));
    order.copied().find(|endpoint| Some(*endpoint) != failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_visit_all_endpoints_and_avoid_the_failed_one() {
        let [a, b, c] =
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(|s| s.parse().expect("an address"));
        let all = [a, b, c];
        let visited: Vec<_> = (0..4).map(|turn| pick(&all, turn, None)).collect();
        assert_eq!(visited, [Some(a), Some(b), Some(c), Some(a)]);
        assert_eq!(pick(&all, 1, Some(b)), Some(c));
        assert_eq!(
            pick(&all, usize::MAX, Some(a)),
            pick(&all, usize::MAX % 3, Some(a))
        );
        assert_eq!(pick(&[a], 0, Some(a)), None);
        assert_eq!(pick(&[], 0, None), None);
    }
}
