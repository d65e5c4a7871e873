//! `docs/formats.md` is made of the tables.

use ship::flat::Table;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- made of the tables; CONNTRAIL_BLESS=1 writes it again -->\n";

fn tables() -> String {
    let mut text = String::new();
    for table in Table::ALL {
        writeln!(text, "\n## {}\n", table.name()).unwrap();
        text.push_str(
            "| column | type | OpenTelemetry | ECS | what it says |\n|---|---|---|---|---|\n",
        );
        for column in table.columns() {
            let quoted = |name: &str| match name {
                "" => "the time of the log record".to_owned(),
                name => format!("`{name}`"),
            };
            writeln!(
                text,
                "| `{}` | `{}` | {} | {} | {} |",
                column.name,
                column.clickhouse_type(),
                quoted(column.otel),
                quoted(column.ecs),
                column.meaning
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn the_page_of_formats_has_the_tables_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let page = fs::read_to_string(&path).unwrap();
    let (front, rest) = page
        .split_once(BEGIN)
        .expect("the page says where the tables begin");
    if std::env::var_os("CONNTRAIL_BLESS").is_some() {
        fs::write(&path, format!("{front}{BEGIN}{}", tables())).unwrap();
    } else {
        assert_eq!(rest, tables(), "write it again with CONNTRAIL_BLESS=1");
    }
}
