//! The patterns as a tree, of which each page has some of the children of one prefix: a page costs what
//! is on it, however many patterns there are beneath.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use nano_routing::Pattern;
use nano_wire::activity;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminContext, Problem, bad_request};
use crate::{census::Counts, table::Table};

/// Children of a page, unless another number is asked for, and at most.
const PAGE: usize = 100;
const MOST: usize = 500;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TreeQuery {
    /// Whose children; those without a parent if it is not said
    prefix: Option<String>,
    /// `next` of the page before
    after: Option<String>,
    /// Most children of the page, at most 500; 100 if it is not said
    limit: Option<usize>,
}

/// Some children of a prefix, in the order of the patterns.
#[derive(Serialize, ToSchema)]
pub(crate) struct TreePage {
    /// Of the node's table, when it was last looked through.
    revision: String,
    /// The prefix in its one form.
    prefix: Option<String>,
    children: Vec<ChildObject>,
    /// Where the next page goes on, if there is one.
    next: Option<String>,
}

/// What patterns have in common that have one field more in common than their prefix.
#[derive(Serialize, ToSchema)]
#[schema(as = Child)]
struct ChildObject {
    /// The field that it adds.
    field: String,
    /// The prefix with the field.
    pattern: String,
    /// Whether it is itself a pattern that is served.
    is_pattern: bool,
    /// How many patterns begin with it, itself included.
    patterns: u64,
    /// How many routes these have in each state: `ready`, `ejected`, `leaving`, `lost`, `suspect` or
    /// `unreachable`; states without one are left out.
    instances: BTreeMap<&'static str, u64>,
}

/// The patterns as a tree, page by page
#[utoipa::path(get, path = "/api/v1/tree", tag = "routes", params(TreeQuery),
    responses(
        (status = 200, description = "Some children of the prefix", body = TreePage),
        (status = 400, description = "The question is none", body = Problem),
    ))]
pub(crate) async fn tree(
    State(context): State<Arc<AdminContext>>,
    query: Result<Query<TreeQuery>, QueryRejection>,
) -> Result<Json<TreePage>, Problem> {
    let Query(TreeQuery {
        prefix,
        after,
        limit,
    }) = query?;
    let prefix = prefix.as_deref().map(Pattern::parse).transpose();
    let prefix = prefix.map_err(|error| bad_request(&format!("the prefix is none: {error}")))?;
    let after = after.map(|field| child(prefix.as_ref(), &field));
    let after = after.transpose()?;
    let limit = limit.unwrap_or(PAGE).clamp(1, MOST);
    let published = context.session.registry.table();
    let sums = context.sums.of(published).await;
    let table = published.load();
    // One more, which says whether there is another page.
    let mut found = children(&table, prefix.as_ref(), after, limit + 1);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let begin = prefix
        .as_ref()
        .map_or(0, |prefix| prefix.as_str().len() + 1);
    let children = found.into_iter().map(|(pattern, is_pattern)| {
        let sum = sums.under(&table, &pattern);
        ChildObject {
            field: pattern.as_str()[begin..].to_owned(),
            pattern: pattern.to_string(),
            is_pattern,
            patterns: sum.patterns,
            instances: by_state(&sum.routes),
        }
    });
    let children: Vec<_> = children.collect();
    let last = children.last().filter(|_| !is_last);
    Ok(Json(TreePage {
        revision: sums.revision.to_string(),
        prefix: prefix.as_ref().map(Pattern::to_string),
        next: last.map(|child| child.field.clone()),
        children,
    }))
}

/// A prefix with one field more.
fn child(prefix: Option<&Pattern>, field: &str) -> Result<Pattern, Problem> {
    let text = match prefix {
        Some(prefix) => format!("{prefix},{field}"),
        None => field.to_owned(),
    };
    let known = Pattern::parse(&text).ok();
    let is_child = |child: &Pattern| child.as_str() == text && !field.contains(',');
    let child = known.filter(is_child);
    child.ok_or_else(|| bad_request("after is not the next of a page of the tree"))
}

/// The children of a prefix, so many at most, and whether each is a pattern.
fn children(
    table: &Table,
    prefix: Option<&Pattern>,
    after: Option<Pattern>,
    most: usize,
) -> Vec<(Pattern, bool)> {
    let mut found = Vec::new();
    let mut last = after;
    while found.len() < most {
        let mut rest = match (&last, prefix) {
            (Some(last), _) => table.beyond(last),
            (None, Some(prefix)) => table.under(prefix),
            (None, None) => table.iter(),
        };
        let next = rest.find(|(pattern, _)| prefix != Some(pattern));
        let next = next.filter(|(pattern, _)| {
            let mut prefix = prefix.into_iter();
            prefix.all(|prefix| prefix.matches(pattern.as_str()))
        });
        let Some((pattern, _)) = next else {
            break;
        };
        let Some(child) = cut(pattern, prefix) else {
            break;
        };
        found.push((child.clone(), child == *pattern));
        last = Some(child);
    }
    found
}

/// A pattern with one field more than a prefix that it begins with.
fn cut(pattern: &Pattern, prefix: Option<&Pattern>) -> Option<Pattern> {
    let text = pattern.as_str();
    let begin = prefix.map_or(0, |prefix| prefix.as_str().len() + 1);
    let end = text[begin..].find(',').map_or(text.len(), |at| begin + at);
    // What a pattern begins with is one.
    Pattern::parse(&text[..end]).ok()
}

/// Counts by the names of the states.
fn by_state(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let all = activity::State::ALL.into_iter().zip(*counts);
    all.filter(|(_, count)| *count > 0)
        .map(|(state, count)| (state.name(), count))
        .collect()
}
