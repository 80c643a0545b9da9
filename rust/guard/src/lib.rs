//! `#[guarded]`: the body of a function runs inside the binding's `error::caught`, which turns a panic into an exception.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Wraps the body of a function that returns `PyResult`: `{ body }` becomes `{ crate::error::caught(move || { body }) }`.
///
/// pyo3 itself turns a panic into `PanicException`, a `BaseException`, which `except Exception` does not catch. An attribute, unlike a
/// closure in each body, leaves the functions as they are, and a test can require it of each of them.
#[proc_macro_attribute]
pub fn guarded(_options: TokenStream, function: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = function.into_iter().collect();
    match tokens.pop() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            let call: TokenStream = [TokenTree::Group(body)].into_iter().collect();
            let arguments: TokenStream = [parsed("move ||"), call].into_iter().collect();
            let wrapped: TokenStream = [
                parsed("crate::error::caught"),
                TokenStream::from(TokenTree::Group(Group::new(Delimiter::Parenthesis, arguments))),
            ]
            .into_iter()
            .collect();
            tokens.push(TokenTree::Group(Group::new(Delimiter::Brace, wrapped)));
            tokens.into_iter().collect()
        }
        _ => parsed("compile_error!(\"guarded: expected a function with a body\");"),
    }
}

/// Tokens of a text that is known to be valid.
fn parsed(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}
