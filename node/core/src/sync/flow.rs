//! What flows between this node and one neighbour.
//!
//! Purpose: a collection flows to a neighbour that may read it here and lets this node write it there, and so the other
//! way round. What flows both ways is *shared* and compared by digests; what flows one way is *told*, and asked about
//! ([`super::one_way`]); what does not flow at all is nobody's business. Inputs: what each side grants the other;
//! outputs: the three sets, which are the same on both sides once they know each other's grants. What it does not do:
//! exchange them.

use super::digest::Scope;
use crate::ids::Key;
use crate::rights::{Grants, Right};
use std::collections::BTreeSet;

/// What flows on one link.
#[derive(Debug)]
pub(crate) struct Flow {
    /// What the neighbour may do here.
    mine: Grants,
    /// What this node may do there, as far as it was told.
    theirs: Grants,
    /// None: everything.
    shared: Option<Scope>,
    out: Scope,
    back: Scope,
}

impl Flow {
    pub(crate) fn new(mine: Grants, theirs: Grants) -> Self {
        let names: BTreeSet<&str> = mine.named().chain(theirs.named()).map(|(name, _)| name).collect();
        let scope = |is_in: &dyn Fn(Right, Right) -> bool| {
            let named = names.iter().map(|name| (*name, is_in(mine.of(name), theirs.of(name))));
            Scope::new(is_in(mine.rest(), theirs.rest()), named)
        };
        let shared = scope(&|mine, theirs| sends(mine, theirs) && sends(theirs, mine));
        let out = scope(&|mine, theirs| sends(mine, theirs) && !sends(theirs, mine));
        let back = scope(&|mine, theirs| sends(theirs, mine) && !sends(mine, theirs));
        let is_all = mine == Grants::ALL && theirs == Grants::ALL;
        Self { shared: (!is_all).then_some(shared), out, back, mine, theirs }
    }

    /// Whether everything is shared, and no file says anything about it.
    pub(crate) const fn is_all(&self) -> bool {
        self.shared.is_none()
    }

    pub(crate) const fn mine(&self) -> &Grants {
        &self.mine
    }

    pub(crate) const fn theirs(&self) -> &Grants {
        &self.theirs
    }

    /// What both compare; none: everything.
    pub(crate) const fn shared(&self) -> Option<&Scope> {
        self.shared.as_ref()
    }

    /// What the neighbour is told and does not tell.
    pub(crate) const fn out(&self) -> &Scope {
        &self.out
    }

    /// What the neighbour tells and is not told.
    pub(crate) const fn back(&self) -> &Scope {
        &self.back
    }

    /// The collections of which digests are needed.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let one_way = [&self.out, &self.back].into_iter().filter(|scope| !scope.is_empty());
        self.shared.iter().chain(one_way)
    }

    /// Whether the neighbour is told of `key`.
    pub(crate) fn sends(&self, key: &Key) -> bool {
        self.is_all() || sends(self.mine.of(key.collection()), self.theirs.of(key.collection()))
    }

    /// Whether the neighbour is asked for `key`.
    pub(crate) fn takes(&self, key: &Key) -> bool {
        self.is_all() || sends(self.theirs.of(key.collection()), self.mine.of(key.collection()))
    }

    pub(crate) fn shares(&self, key: &Key) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.has(key.collection()))
    }

    /// Whether `key` flows to the neighbour only.
    pub(crate) fn tells(&self, key: &Key) -> bool {
        !self.is_all() && self.out.has(key.collection())
    }

    /// Whether `key` flows from the neighbour only.
    pub(crate) fn is_told(&self, key: &Key) -> bool {
        !self.is_all() && self.back.has(key.collection())
    }

    /// Whether the neighbour may read `key` here, whatever it grants itself.
    pub(crate) fn may_read(&self, key: &Key) -> bool {
        self.is_all() || self.mine.of(key.collection()).read
    }

    /// Whether changes of `key` by the neighbour are taken.
    pub(crate) fn may_write(&self, key: &Key) -> bool {
        self.is_all() || self.mine.of(key.collection()).write
    }
}

/// Whether something flows from one to another, by what each of them grants the other.
const fn sends(granted: Right, there: Right) -> bool {
    granted.read && there.write
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    const READ: Right = Right { read: true, write: false };
    const WRITE: Right = Right { read: false, write: true };

    fn key(collection: &str) -> Key {
        Key::new(&Collection::parse(collection).unwrap(), "1").unwrap()
    }

    #[test]
    fn where_nobody_said_anything_everything_is_shared_and_nothing_is_divided() {
        let flow = Flow::new(Grants::ALL, Grants::ALL);
        assert!(flow.is_all() && flow.shares(&key("c")) && flow.sends(&key("c")) && flow.takes(&key("c")));
        assert_eq!((flow.scopes().count(), flow.tells(&key("c"))), (0, false));
    }

    #[test]
    fn both_sides_come_to_the_same_sets() {
        let rights = [Right::ALL, READ, WRITE, Right::NONE];
        for (rest, a, b) in rights.iter().flat_map(|r| rights.iter().flat_map(move |a| rights.map(|b| (*r, *a, b)))) {
            let (here, there) = (Grants::new(rest, [("c", a)]), Grants::new(Right::ALL, [("c", b), ("d", a)]));
            let (one, other) = (Flow::new(here.clone(), there.clone()), Flow::new(there, here));
            for key in ["c", "d", "e"].map(key) {
                assert_eq!((one.sends(&key), one.takes(&key)), (other.takes(&key), other.sends(&key)));
                assert_eq!(one.shares(&key), one.sends(&key) && one.takes(&key));
                assert_eq!(one.tells(&key), one.sends(&key) && !one.takes(&key));
                assert_eq!(one.is_told(&key), other.tells(&key));
            }
            assert_eq!((one.shared(), one.out(), one.back()), (other.shared(), other.back(), other.out()));
        }
    }
}
