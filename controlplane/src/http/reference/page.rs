//! From an OpenAPI document to HTML. Pure; every text of the document is escaped.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// What people need last, in this order; projects come first.
const LAST: [&str; 2] = ["server", "agents"];

/// Operations by tag, in the order of the page.
type Tags<'d> = BTreeMap<(usize, &'d str), Vec<&'d Operation<'d>>>;

/// One operation.
struct Operation<'d> {
    method: &'static str,
    path: &'d str,
    tag: &'d str,
    body: &'d Value,
}

impl Operation<'_> {
    fn anchor(&self) -> String {
        let path = self.path.replace(['/', '{', '}'], "-");
        format!("{}{path}", self.method)
    }
}

/// The page.
pub(super) fn render(document: &Value, style: &str) -> String {
    let operations = operations(document);
    let mut tags: Tags<'_> = BTreeMap::new();
    for operation in &operations {
        let place = LAST.iter().position(|tag| *tag == operation.tag);
        let first = operation.tag == "projects";
        let key = (
            place.map_or(usize::from(!first), |place| place + 2),
            operation.tag,
        );
        tags.entry(key).or_default().push(operation);
    }
    let title = escape(text(document, "/info/title"));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{style}</style></head><body>"
    );
    navigation(&mut page, &tags, document);
    let _ = write!(
        page,
        "<main><h1>{title} API</h1><p class=\"faint\">Version {}. Also as \
         <a href=\"/api/openapi.json\">OpenAPI document</a>.</p><p>{}</p>",
        escape(text(document, "/info/version")),
        escape(text(document, "/info/description")),
    );
    for ((_, tag), operations) in &tags {
        let _ = write!(page, "<h2 id=\"tag-{0}\">{0}</h2>", escape(tag));
        for operation in operations {
            section(&mut page, operation);
        }
    }
    page.push_str("<h2 id=\"documents\">Documents</h2>");
    for (name, schema) in schemas(document) {
        shape(&mut page, name, schema);
    }
    page.push_str("</main></body></html>");
    page
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            let Some(body) = item.get(method) else {
                continue;
            };
            let tag = body["tags"][0].as_str().unwrap_or("server");
            found.push(Operation {
                method,
                path,
                tag,
                body,
            });
        }
    }
    found
}

fn schemas(document: &Value) -> BTreeMap<&str, &Value> {
    let all = document.pointer("/components/schemas");
    let all = all.and_then(Value::as_object).into_iter().flatten();
    all.map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn navigation(page: &mut String, tags: &Tags<'_>, document: &Value) {
    page.push_str("<nav aria-label=\"Operations\">");
    for ((_, tag), operations) in tags {
        let _ = write!(page, "<h2>{}</h2><ul>", escape(tag));
        for operation in operations {
            let _ = write!(
                page,
                "<li><a href=\"#{}\"><span class=\"method {1}\">{2}</span><span>{3}</span></a></li>",
                escape(&operation.anchor()),
                operation.method,
                operation.method.to_uppercase(),
                escape(operation.path.trim_start_matches("/api/v1")),
            );
        }
        page.push_str("</ul>");
    }
    page.push_str("<h2>Documents</h2><ul>");
    for name in schemas(document).keys() {
        let name = escape(name);
        let _ = write!(page, "<li><a href=\"#schema-{name}\">{name}</a></li>");
    }
    page.push_str("</ul></nav>");
}

fn section(page: &mut String, operation: &Operation<'_>) {
    let body = operation.body;
    let _ = write!(
        page,
        "<section class=\"operation\" id=\"{}\"><h3><span class=\"method {1}\">{2}</span> <code>{3}</code></h3><p>{4}</p>",
        escape(&operation.anchor()),
        operation.method,
        operation.method.to_uppercase(),
        escape(operation.path),
        escape(text(body, "/summary")),
    );
    let more = text(body, "/description");
    if !more.is_empty() {
        let _ = write!(page, "<p>{}</p>", escape(more));
    }
    parameters(page, body);
    let content = body.pointer("/requestBody/content/application~1json");
    if let Some(content) = content {
        let _ = write!(page, "<h4>Body</h4><p>{}</p>", kind(&content["schema"]));
        if let Some(example) = content.get("example") {
            example_of(page, operation, example);
        }
    }
    page.push_str("<h4>Answers</h4><table><tbody>");
    let answers = body["responses"].as_object().into_iter().flatten();
    for (status, answer) in answers {
        let content = answer["content"].as_object().into_iter().flatten().next();
        let schema = content.map(|(_, content)| kind(&content["schema"]));
        let _ = write!(
            page,
            "<tr><th>{}</th><td class=\"kind\">{}</td><td>{}</td></tr>",
            escape(status),
            schema.unwrap_or_default(),
            escape(text(answer, "/description")),
        );
    }
    page.push_str("</tbody></table></section>");
}

fn parameters(page: &mut String, body: &Value) {
    let parameters = body["parameters"].as_array().map(Vec::as_slice);
    let parameters = parameters.unwrap_or_default();
    if parameters.is_empty() {
        return;
    }
    page.push_str("<h4>Parameters</h4><table><tbody>");
    for parameter in parameters {
        let _ = write!(
            page,
            "<tr><th><code>{}</code></th><td class=\"kind\">{}</td><td>{}</td></tr>",
            escape(text(parameter, "/name")),
            escape(text(parameter, "/in")),
            escape(text(parameter, "/description")),
        );
    }
    page.push_str("</tbody></table>");
}

fn example_of(page: &mut String, operation: &Operation<'_>, example: &Value) {
    let _ = write!(
        page,
        "<details><summary>Example</summary><pre>curl -X {} http://localhost:8080{} -d @- &lt;&lt;'EOF'\n{}\nEOF</pre></details>",
        operation.method.to_uppercase(),
        escape(operation.path),
        escape(&format!("{example:#}")),
    );
}

fn shape(page: &mut String, name: &str, schema: &Value) {
    let name = escape(name);
    let _ = write!(
        page,
        "<section class=\"schema\" id=\"schema-{name}\"><h3>{name}</h3><p>{}</p>",
        escape(text(schema, "/description")),
    );
    let choices = choices(schema);
    if !choices.is_empty() {
        let _ = write!(page, "<p>{}</p>", choices.join(", "));
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut rows = String::new();
    for (field, schema) in properties {
        let _ = write!(
            rows,
            "<tr><th><code>{}</code></th><td class=\"kind\">{}</td><td>{}</td></tr>",
            escape(field),
            kind(schema),
            escape(text(schema, "/description")),
        );
    }
    if !rows.is_empty() {
        let _ = write!(page, "<table><tbody>{rows}</tbody></table>");
    }
    page.push_str("</section>");
}

/// The values that a schema of constants allows.
fn choices(schema: &Value) -> Vec<String> {
    let shown = |value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        format!("<code>{}</code>", escape(&text))
    };
    schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .map(shown)
        .collect()
}

/// The type of a schema in a word or two, with a link to where it is explained.
fn kind(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = escape(target.rsplit('/').next().unwrap_or(target));
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[key].as_array() {
            let parts = parts.iter().filter(|part| part["type"] != "null").map(kind);
            return parts.collect::<Vec<_>>().join(" or ");
        }
    }
    let name = match &schema["type"] {
        Value::Array(names) => names
            .iter()
            .find_map(|name| name.as_str().filter(|n| *n != "null")),
        name => name.as_str(),
    };
    match name {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        Some(name) => escape(name),
        None => String::new(),
    }
}

fn text<'d>(value: &'d Value, pointer: &str) -> &'d str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi;

    fn page() -> String {
        let document = serde_json::to_value(openapi::document()).expect("JSON");
        render(&document, "")
    }

    #[test]
    fn every_operation_and_document_is_on_the_page() {
        let document = serde_json::to_value(openapi::document()).expect("JSON");
        let page = page();
        for operation in operations(&document) {
            let id = format!("id=\"{}\"", operation.anchor());
            assert_eq!(page.matches(&id).count(), 1, "{id}");
            assert!(
                !text(operation.body, "/summary").is_empty(),
                "{}",
                operation.path
            );
        }
        // No link leads nowhere.
        for (_, rest) in page
            .match_indices("href=\"#")
            .map(|(at, m)| (at, &page[at + m.len()..]))
        {
            let id = rest.split('"').next().unwrap_or_default();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let page = page();
        for forbidden in [
            "<script",
            "<img",
            "<link",
            "src=",
            "href=\"http",
            "url(",
            " style=",
            "onclick",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        let document = serde_json::json!({"info": {"title": "<b>&\"'"}, "paths": {}});
        assert!(render(&document, "").contains("&lt;b&gt;&amp;&quot;&#39; API"));
    }
}
