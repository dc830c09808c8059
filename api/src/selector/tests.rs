use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn labels_select() {
    for (selector, object, expected) in [
        ("", "", true),
        ("a=b", "a=b", true),
        ("a=b", "a=c", false),
        ("a=b", "", false),
        ("a==b", "a=b", true),
        ("a!=b", "a=c", true),
        ("a!=b", "a=b", false),
        ("a!=b", "", true),
        ("a", "a=", true),
        ("a", "b=1", false),
        ("!a", "b=1", true),
        ("! a", "a=1", false),
        ("a in (x,y)", "a=y", true),
        ("a in (x, y )", "a=z", false),
        ("a in(x)", "a=x", true),
        ("a notin (x,y)", "a=x", false),
        ("a notin (x,y)", "", true),
        ("a=", "a=", true),
        ("a=,b=1", "a=,b=1", true),
        ("a=b,c!=d,e in (x,y),!f", "a=b,e=x", true),
        ("a=b,c!=d,e in (x,y),!f", "a=b,e=x,f=1", false),
        ("in=1", "in=1", true),
        ("in in (in)", "in=in", true),
        ("notin", "notin=1", true),
        ("example.com/tier = web", "example.com/tier=web", true),
        ("a=ü", "a=ü", true),
    ] {
        let parsed = Labels::parse(selector).expect(selector);
        assert_eq!(
            parsed.selects(&labels(object)),
            expected,
            "{selector:?} of {object:?}"
        );
    }
}

#[test]
fn a_bad_label_selector_names_the_position() {
    for (selector, expected) in [
        (
            ",",
            "position 1: expected the key of a label, or !, found ','",
        ),
        (
            "a=b,",
            "position 5: expected the key of a label, or !, found the end",
        ),
        (
            "a b",
            "position 3: expected =, !=, in, notin or a comma, found 'b'",
        ),
        ("a in x", "position 6: expected (, found 'x'"),
        (
            "a in (x",
            "position 8: expected a comma or ), found the end",
        ),
        (
            "ü=1=2",
            "position 4: expected =, !=, in, notin or a comma, found '='",
        ),
        (
            "a=b,!",
            "position 6: expected the key of a label, found the end",
        ),
        (
            "a>1",
            "position 2: expected =, !=, in, notin or a comma, found '>'",
        ),
    ] {
        let said = Labels::parse(selector).map_err(|error| error.to_string());
        assert_eq!(said, Err(expected.to_owned()), "{selector:?}");
    }
    let many = vec!["a"; REQUIREMENTS_MAX + 1].join(",");
    assert!(Labels::parse(&many).is_err_and(|error| error.message.contains("at most 64")));
}

#[test]
fn fields_select_what_is_known() {
    const KNOWN: [&str; 2] = ["metadata.name", "status.phase"];
    let of = |field: &str| -> Cow<'static, str> {
        match field {
            "metadata.name" => "shop".into(),
            _ => "".into(),
        }
    };
    for (selector, expected) in [
        ("", true),
        ("metadata.name=shop", true),
        ("metadata.name!=shop", false),
        ("status.phase=", true),
        ("status.phase==Running", false),
        ("metadata.name=shop,status.phase!=Running", true),
    ] {
        let parsed = Fields::parse(selector, &KNOWN).expect(selector);
        assert_eq!(parsed.selects(of), expected, "{selector}");
    }
    for (selector, expected) in [
        (
            "metadata.name=a,status.phse=b",
            "position 17: field \"status.phse\" cannot be selected by: there are metadata.name, status.phase",
        ),
        (
            "metadata.name",
            "position 14: expected = or !=, found the end",
        ),
        (
            "metadata.name in (a)",
            "position 15: expected = or !=, found 'i'",
        ),
    ] {
        let said = Fields::parse(selector, &KNOWN).map_err(|error| error.to_string());
        assert_eq!(said, Err(expected.to_owned()));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in ".{0,60}") {
        let _ = Labels::parse(&text);
        let _ = Fields::parse(&text, &["metadata.name"]);
    }
}
