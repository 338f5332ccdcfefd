//! Reads licence expressions of crates (SPDX 2.3, annex D; and the older `A/B` of crates.io, which means `A OR B`).
//!
//! Input: an expression and which licences are allowed. Output: whether the allowed ones suffice to use the crate. Does
//! not know any licence by itself.

/// Whether `expression` can be satisfied with the licences that `allowed` accepts. An expression that cannot be read is
/// not.
///
/// `WITH` belongs to the licence on its left: `Apache-2.0 WITH LLVM-exception` is asked for as one name.
pub(super) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { tokens: &tokens, allowed };
    let answer = reader.any();
    answer == Some(true) && reader.tokens.is_empty()
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    /// Alternatives, the weakest binding. Both sides are always read, so that the rest of the expression is reached.
    fn any(&mut self) -> Option<bool> {
        let mut answer = self.all()?;
        while self.take("OR") {
            answer |= self.all()?;
        }
        Some(answer)
    }

    fn all(&mut self) -> Option<bool> {
        let mut answer = self.one()?;
        while self.take("AND") {
            answer &= self.one()?;
        }
        Some(answer)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let answer = self.any()?;
            return self.take(")").then_some(answer);
        }
        let name = self.next()?;
        if self.take("WITH") {
            let exception = self.next()?;
            return Some((self.allowed)(&format!("{name} WITH {exception}")));
        }
        Some((self.allowed)(&name))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn next(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some((*first).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    fn with_mit_and_isc(expression: &str) -> bool {
        satisfied(expression, &|id| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&id))
    }

    #[test]
    fn one_allowed_alternative_suffices() {
        assert!(with_mit_and_isc("GPL-3.0 OR MIT"));
        assert!(with_mit_and_isc("GPL-3.0/MIT"));
        assert!(!with_mit_and_isc("GPL-3.0 OR MPL-2.0"));
    }

    #[test]
    fn every_part_of_a_conjunction_is_needed() {
        assert!(with_mit_and_isc("(GPL-3.0 OR MIT) AND ISC"));
        assert!(!with_mit_and_isc("MIT AND GPL-3.0"));
        assert!(with_mit_and_isc("MIT AND ISC OR GPL-3.0"), "AND binds closer than OR");
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(with_mit_and_isc("Apache-2.0 WITH LLVM-exception"));
        assert!(!with_mit_and_isc("Apache-2.0"));
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_not_satisfied() {
        for broken in ["", "(MIT", "MIT ISC", "MIT OR", "MIT WITH"] {
            assert!(!with_mit_and_isc(broken), "{broken}");
        }
    }
}
