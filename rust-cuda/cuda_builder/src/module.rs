//! PTX text → its words, and from these its functions and shared variables.

/// A word (identifier, directive, number) or a single sign of the text, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

/// The tokens of `text`, without blanks and comments. A string literal is one token.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &text[at..];
            let first = rest.chars().next()?;
            let length = if first.is_whitespace() {
                first.len_utf8()
            } else if let Some(length) = comment_length(rest) {
                length
            } else {
                let length = match first {
                    '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                    _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                    _ => first.len_utf8(),
                };
                let token = Token { text: &rest[..length], at };
                at += length;
                return Some(token);
            };
            at += length;
        }
    })
}

/// Length of the comment at the start of `rest`, if there is one.
pub(crate) fn comment_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        Some(rest.find('\n').unwrap_or(rest.len()))
    } else {
        let inside = rest.strip_prefix("/*")?;
        Some(inside.find("*/").map_or(rest.len(), |end| end + 4))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// Whether launched from the host or called on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Entry,
    Function,
}

/// A variable of the parameter or shared space.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a str,
    pub(crate) align: u64,
    pub(crate) bytes: u64,
}

/// What a function's body names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) words: Vec<&'a str>,
    pub(crate) shared: Vec<Variable<'a>>,
}

/// A kernel or device function, declared (`body` is none) or defined.
#[derive(Clone, Debug)]
pub(crate) struct Function<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) is_extern: bool,
    pub(crate) params: Vec<Variable<'a>>,
    /// The words between the parameters and the body.
    pub(crate) directives: Vec<&'a str>,
    /// Where the parameter list, or the name if there is none, ends in the text.
    pub(crate) header_end: usize,
    pub(crate) body: Option<Body<'a>>,
}

/// A PTX module, as far as this crate needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) target: Option<&'a str>,
    pub(crate) functions: Vec<Function<'a>>,
    /// The shared variables of the module, less the dynamic one.
    pub(crate) shared: Vec<Variable<'a>>,
}

impl<'a> Module<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut module = Self::default();
        let mut rest = &tokens(text).collect::<Vec<_>>()[..];
        while let Some(first) = rest.first() {
            let argument = rest.get(1).map(|token| token.text);
            let length = match first.text {
                // These three end with the line, not with a `;`.
                ".version" => {
                    module.version = argument;
                    2
                }
                ".target" => {
                    module.target = argument;
                    2 + 2 * rest[2.min(rest.len())..].chunks(2).take_while(|pair| pair[0].text == ",").count()
                }
                ".address_size" => 2,
                ".file" => 3,
                _ => module.statement(rest),
            };
            rest = &rest[length.min(rest.len())..];
        }
        module
    }

    /// Reads the statement at the start of `rest`; returns its length.
    fn statement(&mut self, rest: &[Token<'a>]) -> usize {
        let is = |sign: &'static str| move |token: &Token<'_>| token.text == sign;
        let header = rest.iter().position(|token| matches!(token.text, ";" | "{")).unwrap_or(rest.len());
        let has_body = rest.get(header).is_some_and(is("{"));
        let end = if has_body {
            closing_brace(&rest[header..]).map_or(rest.len(), |length| header + length)
        } else {
            header + 1
        };
        let words = &rest[..header];
        if let Some(mut function) = function_header(words) {
            if has_body {
                let body = rest.get(header + 1..end.saturating_sub(1));
                function.body = Some(self::body(body.unwrap_or_default()));
            }
            self.functions.push(function);
        } else if let Some(shared) = shared_variable(words) {
            self.shared.push(shared);
        }
        end
    }
}

/// The length of the block that begins with the `{` at the start of `rest`.
fn closing_brace(rest: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in rest.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// `[.extern | .visible | .weak] .entry | .func [(result)] name [(params)] directives`
fn function_header<'a>(words: &[Token<'a>]) -> Option<Function<'a>> {
    let keyword = words.iter().position(|token| matches!(token.text, ".entry" | ".func"))?;
    let (kind, mut rest) = match words[keyword].text {
        ".entry" => (Kind::Entry, &words[keyword + 1..]),
        _ => {
            let rest = &words[keyword + 1..];
            // The result, in parentheses before the name.
            (Kind::Function, parenthesised(rest).map_or(rest, |(_, rest)| rest))
        }
    };
    let name = rest
        .first()
        .filter(|token| token.text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '%')))?;
    rest = &rest[1..];
    let mut header_end = name.at + name.text.len();
    let mut params = Vec::new();
    if let Some((inside, after)) = parenthesised(rest) {
        params = inside.split(|token| token.text == ",").filter_map(variable).collect();
        header_end = rest[inside.len() + 1].at + 1;
        rest = after;
    }
    Some(Function {
        kind,
        name: name.text,
        is_extern: words[..keyword].iter().any(|token| token.text == ".extern"),
        params,
        directives: rest.iter().map(|token| token.text).collect(),
        header_end,
        body: None,
    })
}

/// What is inside the parentheses that `rest` begins with, and what follows them.
fn parenthesised<'t, 'a>(rest: &'t [Token<'a>]) -> Option<(&'t [Token<'a>], &'t [Token<'a>])> {
    rest.first().filter(|token| token.text == "(")?;
    let close = rest.iter().position(|token| token.text == ")")?;
    Some((&rest[1..close], &rest[close + 1..]))
}

fn body<'a>(tokens: &[Token<'a>]) -> Body<'a> {
    let statements = tokens.split(|token| matches!(token.text, ";" | "{" | "}"));
    Body {
        words: tokens.iter().map(|token| token.text).collect(),
        shared: statements.filter_map(shared_variable).collect(),
    }
}

/// `.shared [.align N] .type name[N]`; none for `.extern`, whose size is the launcher's to say.
fn shared_variable<'a>(words: &[Token<'a>]) -> Option<Variable<'a>> {
    let has = |name: &str| words.iter().any(|token| token.text == name);
    if has(".shared") && !has(".extern") { variable(words) } else { None }
}

/// `.space [.align N] .type [.ptr .space .align N] name[N]`
fn variable<'a>(words: &[Token<'a>]) -> Option<Variable<'a>> {
    let element = words.iter().find_map(|token| type_bytes(token.text))?;
    let ends_before = words.iter().position(|token| matches!(token.text, "[" | "=")).unwrap_or(words.len());
    let name = words[..ends_before].last()?.text;
    // `.align` after `.ptr` is the pointee's.
    let own = words.iter().take_while(|token| token.text != ".ptr");
    let align = own
        .skip_while(|token| token.text != ".align")
        .nth(1)
        .and_then(|token| token.text.parse().ok())
        .unwrap_or(element);
    let count: u64 = match words.get(ends_before..ends_before + 2) {
        Some([open, count]) if open.text == "[" => count.text.parse().ok()?,
        _ => 1,
    };
    Some(Variable { name, align, bytes: element.saturating_mul(count) })
}

/// The size of a fundamental type, `.f32` → 4.
fn type_bytes(word: &str) -> Option<u64> {
    let bits = word.strip_prefix(['.'])?.strip_prefix(['b', 'u', 's', 'f'])?;
    match bits {
        "8" => Some(1),
        "16" => Some(2),
        "32" => Some(4),
        "64" => Some(8),
        "128" => Some(16),
        _ => None,
    }
}
