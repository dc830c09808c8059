//! `get all`: the objects of every kind.

use cara_api::{Certificate, List, Node, Project, Secret, Timestamp, paths};
use serde_json::{Value, json};

use super::{Rows, Then, View, reserved};
use crate::ctl::args::{Get, Output};
use crate::ctl::failure::Failure;
use crate::ctl::{Context, out};

/// Shows everything that is selected, kind by kind.
pub async fn run(context: &Context, options: &Get) -> Result<(), Failure> {
    if options.name.is_some() || options.watch || options.phase.is_some() {
        return Err(Failure::usage(
            "get all: it takes selectors, and neither a name nor --watch nor --phase",
        ));
    }
    let parts = [
        part::<Project>(context, options, paths::PROJECTS).await?,
        part::<Node>(context, options, paths::NODES).await?,
        part::<Secret>(context, options, paths::SECRETS).await?,
        part::<Certificate>(context, options, paths::CERTIFICATES).await?,
    ];
    let items: Vec<&Value> = parts.iter().flat_map(|part| &part.items).collect();
    let list = json!({"apiVersion": cara_api::API_VERSION, "kind": "List", "items": items});
    if let Some(text) = context.output.list(&list, &items)? {
        return out(&text);
    }
    let gap = match context.output {
        Output::Name => "",
        Output::Table
        | Output::Wide
        | Output::Json
        | Output::Jsonl
        | Output::Yaml
        | Output::Jsonpath(_) => "\n",
    };
    let shown = parts.iter().filter(|part| !part.items.is_empty());
    let texts: Vec<&str> = shown.map(|part| part.text.as_str()).collect();
    out(&texts.join(gap))
}

/// The objects of a kind, for people and for programs.
struct Part {
    text: String,
    items: Vec<Value>,
}

async fn part<T: Rows>(context: &Context, options: &Get, path: &str) -> Result<Part, Failure> {
    let list = context.client.query(path, &options.selectors.query()).await;
    let mut list: List<T> = list.map_err(|error| Failure::of("get all", &error))?;
    list.items.iter_mut().for_each(T::conceal);
    let values = list.items.iter().map(serde_json::to_value);
    let items: Result<Vec<Value>, _> = values.collect();
    let items = items.map_err(|error| Failure::other(error.to_string()))?;
    let head = match context.output {
        Output::Table | Output::Wide => format!("{}S\n", T::NOUN.to_uppercase()),
        Output::Json | Output::Jsonl | Output::Yaml | Output::Name | Output::Jsonpath(_) => {
            String::new()
        }
    };
    let reserved = reserved::<T>(context).await;
    let mut view = View::new::<T>(context.output, context.screen.columns, Then::Done);
    let body = view.list(&list, &reserved, Timestamp::now())?;
    Ok(Part {
        text: head + &body,
        items,
    })
}
