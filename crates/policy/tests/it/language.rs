//! Texts that are wrong, and what is said of them.

use policy::Policy;

fn problems(text: &str) -> Vec<String> {
    match Policy::parse(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_would_be_right() {
    let text = "version = 1
colour = \"red\"
[pseudonyms]
rotate = \"5m\"
[[rule]]
name = \"first\"
action = \"drop\"
fields = [\"user.nam\", \"hostname\"]
when = { proces = \"x\", destination = [\"10.0.0.1/8\", \"not a host\"] }
[[rule]]
action = \"remove\"
[[rule]]
name = \"third\"
action = \"truncate\"
fields = \"user\"
to = { ipv4 = 33 }
";
    assert_eq!(
        problems(text),
        [
            "line 2, column 1: a policy has no key \"colour\"; the nearest is rule",
            "line 4, column 10: must be a time from 1h to 366d, such as rotate = \"30d\"",
            "line 8, column 11: there is no field \"user.nam\"; the nearest is user.name",
            "line 9, column 10: \"when\" has no key \"proces\"; the nearest is process",
            "line 9, column 39: \"10.0.0.1/8\" has bits set behind its prefix; 10.0.0.0/8 is the \
             network",
            "line 9, column 53: \"not a host\" is no address, network, host name such as \
             www.example.com or *.example.com, or one of loopback, private, link-local, multicast",
            "line 10, column 1: the rule has no name, by which it is counted",
            "line 11, column 10: must be one of \"drop\", \"truncate\", \"pseudonymise\", \"keep\"",
            "line 15, column 10: user can be dropped or kept; what can be truncated is \
             remote.address, local.address, hostname, process.path, process.command_line",
            "line 16, column 15: must be a whole number from 0 to 31",
        ]
    );
}

#[test]
fn what_is_not_toml_is_named_with_its_line() {
    let problems = problems("version = 1\n[[rule]]\nname = \n");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("line 3, column"), "{problems:?}");
    assert!(problems[0].contains("this is not TOML"), "{problems:?}");
}

#[test]
fn what_is_missing_is_named() {
    let said = problems("");
    assert!(
        said[0].contains("version = 1") && said[1].contains("there is no rule"),
        "{said:?}"
    );
    assert!(problems("version = 2\n[[rule]]")[0].contains("version = 1 only"));
    let said = problems("version = 1\n[[rule]]\n");
    let all = said.join("\n");
    assert!(
        all.contains("no name") && all.contains("no action"),
        "{all}"
    );
    let no_fields = "version = 1\n[[rule]]\nname = \"n\"\naction = \"keep\"\n";
    assert!(problems(no_fields)[0].contains("[\"record\"] stands for the record"));
}

#[test]
fn lists_of_nothing_and_values_of_another_kind_are_refused() {
    let rule = |rest: &str| {
        let text = format!(
            "version = 1\n[[rule]]\nname = \"n\"\naction = \"drop\"\nfields = \"user\"\n{rest}\n"
        );
        problems(&text)
    };
    assert_eq!(rule(""), [""; 0]);
    for (wrong, said) in [
        ("when = { process = [] }", "the list is empty"),
        ("when = { process = \"\" }", "1 to 1024 bytes"),
        ("when = { user = -1 }", "the name of a user"),
        ("when = { user = 1.5 }", "the name of a user"),
        ("when = { port = 65536 }", "must be a port"),
        ("when = { port = \"9-1\" }", "9 is above 1; write \"1-9\""),
        ("when = { port = \"+1-9\" }", "must be a port"),
        ("when = { direction = \"out\" }", "outbound"),
        ("when = { protocol = \"icmp\" }", "a number from 0 to 255"),
        ("when = { platform = 1 }", "true or false"),
        ("when = 3", "must be a table"),
        ("to = { ipv4 = 8 }", "only an action = \"truncate\""),
    ] {
        let problems = rule(wrong);
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        assert!(problems[0].contains(said), "{wrong}: {problems:?}");
    }
}

#[test]
fn a_text_full_of_mistakes_gives_twenty_of_them() {
    let text = "version = 1\n".to_owned() + &"[[rule]]\nnam = 1\n".repeat(100);
    assert_eq!(problems(&text).len(), 20);
    assert!(problems(&"x".repeat(2 << 20))[0].contains("larger than 1 MiB"));
}

#[test]
fn the_same_text_has_the_same_hash_and_another_has_another() {
    let text = "version = 1\n[[rule]]\nname = \"n\"\naction = \"drop\"\nfields = \"user\"\n";
    let hash = |text: &str| Policy::parse(text).unwrap().hash();
    assert_eq!(hash(text), hash(text));
    assert_ne!(hash(text), hash(&format!("{text}# changed\n")));
    assert_eq!(Policy::strict().hash(), None);
}

#[test]
fn every_example_of_the_documentation_is_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(folder.join("../../docs/privacy-policy.md")).unwrap();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|it| it.split("```").next())
        .collect();
    assert!(examples.len() >= 4, "{}", examples.len());
    for example in examples {
        assert_eq!(problems(example), [""; 0], "{example}");
    }
    for field in record::PolicyField::ALL {
        let name = format!("`{}`", field.name());
        assert!(page.contains(&name), "{name} is not documented");
    }
}
