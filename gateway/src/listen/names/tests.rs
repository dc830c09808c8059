use super::*;

#[test]
fn an_exact_host_goes_before_a_wildcard_of_one_label() {
    let mut map = HostMap::default();
    map.insert("*.x.test", 1);
    map.insert("a.x.test", 2);
    for (host, expected) in [
        ("a.x.test", Some(2)),
        ("b.x.test", Some(1)),
        ("c.b.x.test", None),
        ("x.test", None),
        (".x.test", None),
        ("", None),
    ] {
        assert_eq!(map.find(host).copied(), expected, "{host}");
    }
}
