//! The keys: one table that drives what a key does, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Hands;

/// What is on top and so gets the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// The panels.
    Browse,
    /// The filter is being typed.
    Filter,
    /// The help, or a request's attempts.
    Reader,
    /// A question with buttons.
    Question,
    /// A dialog that only tells.
    Message,
    /// The fault form.
    Form,
    /// The screen is too small for anything.
    TooSmall,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Help,
    Quit,
    Refresh,
    Pause,
    FocusNext,
    FocusPrevious,
    Expand,
    Open,
    Back,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Filter,
    SortNext,
    SortPrevious,
    Invert,
    Everything,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    Kill,
    Revive,
    Drain,
    Faults,
    Accept,
    Cancel,
    Erase,
    Clear,
    Next,
    Previous,
    Yes,
    AllOff,
    Base,
}

/// What a key changes; a read-only dashboard has no keys that change the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touches {
    /// The screen alone.
    Screen,
    /// The fleet.
    Fleet,
}

/// A heading of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Moving about.
    Move,
    /// The workers' table.
    Table,
    /// Workers themselves.
    Operate,
    /// Charts and the rest.
    View,
}

impl Group {
    /// In the order of the help.
    pub(crate) const ALL: [Self; 4] = [Self::Operate, Self::Table, Self::Move, Self::View];

    /// Its heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Move => "Moving about",
            Self::Table => "Table",
            Self::Operate => "Selected worker",
            Self::View => "View",
        }
    }
}

/// A key or several that do the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// Where.
    pub(crate) context: Context,
    /// What.
    pub(crate) action: Action,
    keys: &'static [Key],
    /// How the keys are written.
    pub(crate) label: &'static str,
    /// One word for the footer.
    pub(crate) verb: &'static str,
    /// A line of the help.
    pub(crate) help: &'static str,
    /// The heading of the help under which it stands.
    pub(crate) group: Group,
    /// Its place in the footer when room is short: the lowest stays longest; 0 is never there.
    pub(crate) rank: u8,
    /// What it changes.
    pub(crate) touches: Touches,
}

/// A key, with Control or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Plain(KeyCode),
    Control(char),
}

const fn ch(c: char) -> Key {
    Key::Plain(KeyCode::Char(c))
}

const fn key(code: KeyCode) -> Key {
    Key::Plain(code)
}

impl Binding {
    const fn new(context: Context, action: Action, keys: &'static [Key]) -> Self {
        let (label, verb, help, group) = ("", "", "", Group::View);
        Self { context, action, keys, label, verb, help, group, rank: 0, touches: Touches::Screen }
    }

    const fn label(mut self, label: &'static str, verb: &'static str) -> Self {
        self.label = label;
        self.verb = verb;
        self
    }

    const fn help(mut self, group: Group, help: &'static str) -> Self {
        self.group = group;
        self.help = help;
        self
    }

    const fn footer(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    const fn operates(mut self) -> Self {
        self.touches = Touches::Fleet;
        self
    }

    /// Whether these hands have it.
    pub(crate) fn allowed(&self, hands: Hands) -> bool {
        hands == Hands::Operate || self.touches == Touches::Screen
    }
}

use Action as A;
use Context as C;
use KeyCode as K;

/// Every key.
pub(crate) static BINDINGS: &[Binding] = &[
    Binding::new(C::Browse, A::Help, &[ch('?'), key(K::F(1))])
        .label("?", "help")
        .help(Group::View, "this help")
        .footer(1),
    Binding::new(C::Browse, A::Filter, &[ch('/')])
        .label("/", "filter")
        .help(Group::Table, "filter by name, state, model or task; Esc clears it")
        .footer(5),
    Binding::new(C::Browse, A::SortNext, &[ch('s'), key(K::Right)])
        .label("s →", "sort")
        .help(Group::Table, "sort by the next column")
        .footer(9),
    Binding::new(C::Browse, A::SortPrevious, &[key(K::Left)])
        .label("←", "sort back")
        .help(Group::Table, "sort by the column before"),
    Binding::new(C::Browse, A::Invert, &[ch('i')])
        .label("i", "invert")
        .help(Group::Table, "turn the order round")
        .footer(12),
    Binding::new(C::Browse, A::Kill, &[ch('K')])
        .label("K", "kill")
        .help(Group::Operate, "end its process with SIGKILL; asks first")
        .footer(3)
        .operates(),
    Binding::new(C::Browse, A::Revive, &[ch('R')])
        .label("R", "revive")
        .help(Group::Operate, "start its process again")
        .footer(4)
        .operates(),
    Binding::new(C::Browse, A::Drain, &[ch('d')])
        .label("d", "drain")
        .help(Group::Operate, "let it finish and give it nothing new; again to resume")
        .footer(6)
        .operates(),
    Binding::new(C::Browse, A::Faults, &[ch('f')])
        .label("f", "faults")
        .help(Group::Operate, "crashes, time-outs and delays that it injects")
        .footer(7)
        .operates(),
    Binding::new(C::Browse, A::Open, &[key(K::Enter)])
        .label("Enter", "detail")
        .help(Group::Move, "a worker's detail; a request's attempts")
        .footer(10),
    Binding::new(C::Browse, A::FocusNext, &[key(K::Tab)])
        .label("Tab", "panel")
        .help(Group::Move, "next panel")
        .footer(11),
    Binding::new(C::Browse, A::FocusPrevious, &[key(K::BackTab)]).label("S-Tab", "").help(Group::Move, "panel before"),
    Binding::new(C::Browse, A::Expand, &[ch('e')])
        .label("e", "expand")
        .help(Group::View, "the panel on the whole screen, and back")
        .footer(13),
    Binding::new(C::Browse, A::Back, &[key(K::Esc)])
        .label("Esc", "back")
        .help(Group::Move, "back: closes, then clears the filter"),
    Binding::new(C::Browse, A::Up, &[ch('k'), key(K::Up)]).label("k ↑", "up").help(Group::Move, "up"),
    Binding::new(C::Browse, A::Down, &[ch('j'), key(K::Down)]).label("j ↓", "down").help(Group::Move, "down"),
    Binding::new(C::Browse, A::PageUp, &[key(K::PageUp), Key::Control('b')])
        .label("PgUp", "page up")
        .help(Group::Move, "a page up"),
    Binding::new(C::Browse, A::PageDown, &[key(K::PageDown), Key::Control('f')])
        .label("PgDn", "page down")
        .help(Group::Move, "a page down"),
    Binding::new(C::Browse, A::Top, &[ch('g'), key(K::Home)]).label("g", "first").help(Group::Move, "first"),
    Binding::new(C::Browse, A::Bottom, &[ch('G'), key(K::End)])
        .label("G", "last")
        .help(Group::Move, "last; the activity follows again"),
    Binding::new(C::Browse, A::Everything, &[ch('a')])
        .label("a", "all events")
        .help(Group::View, "list every answered request, or what is out of the ordinary")
        .footer(14),
    Binding::new(C::Browse, A::ZoomIn, &[ch('+')])
        .label("+", "zoom")
        .help(Group::View, "charts: less time, more of it"),
    Binding::new(C::Browse, A::ZoomOut, &[ch('-')]).label("-", "zoom out").help(Group::View, "charts: more time"),
    Binding::new(C::Browse, A::ZoomReset, &[ch('=')]).label("=", "2 min").help(Group::View, "charts: two minutes"),
    Binding::new(C::Browse, A::Refresh, &[ch('r'), Key::Control('l')])
        .label("r", "refresh")
        .help(Group::View, "fetch a snapshot now, redraw; when lost: connect now"),
    Binding::new(C::Browse, A::Pause, &[ch(' ')])
        .label("space", "pause")
        .help(Group::View, "hold the screen still: nothing ages, nothing expires")
        .footer(8),
    Binding::new(C::Browse, A::Quit, &[ch('q'), Key::Control('c')])
        .label("q", "quit")
        .help(Group::View, "quit (Ctrl-C too)")
        .footer(2),
    Binding::new(C::Filter, A::Accept, &[key(K::Enter), key(K::Down), key(K::Up), key(K::Tab)])
        .label("Enter", "keep filter")
        .footer(1),
    Binding::new(C::Filter, A::Cancel, &[key(K::Esc)]).label("Esc", "clear").footer(2),
    Binding::new(C::Filter, A::Erase, &[key(K::Backspace), Key::Control('h')]),
    Binding::new(C::Filter, A::Clear, &[Key::Control('u'), Key::Control('w')]).label("C-u", "empty").footer(3),
    Binding::new(C::Filter, A::Quit, &[Key::Control('c')]),
    Binding::new(C::Reader, A::Cancel, &[key(K::Esc), ch('q'), ch('?'), key(K::Enter), key(K::F(1))])
        .label("Esc", "close")
        .footer(1),
    Binding::new(C::Reader, A::Down, &[ch('j'), key(K::Down)]).label("j ↓", "down").footer(2),
    Binding::new(C::Reader, A::Up, &[ch('k'), key(K::Up)]).label("k ↑", "up").footer(3),
    Binding::new(C::Reader, A::PageDown, &[key(K::PageDown), ch(' ')]),
    Binding::new(C::Reader, A::PageUp, &[key(K::PageUp)]),
    Binding::new(C::Reader, A::Top, &[ch('g'), key(K::Home)]),
    Binding::new(C::Reader, A::Bottom, &[ch('G'), key(K::End)]),
    Binding::new(C::Reader, A::Quit, &[Key::Control('c')]),
    Binding::new(C::Question, A::Cancel, &[key(K::Esc), ch('n'), ch('q')]).label("Esc n", "cancel").footer(1),
    Binding::new(C::Question, A::Yes, &[ch('y')]).label("y", "yes").footer(2),
    Binding::new(C::Question, A::Next, &[key(K::Tab), key(K::Right), ch('l')]).label("Tab", "other button").footer(3),
    Binding::new(C::Question, A::Previous, &[key(K::BackTab), key(K::Left), ch('h')]),
    Binding::new(C::Question, A::Accept, &[key(K::Enter)]).label("Enter", "press it").footer(4),
    Binding::new(C::Question, A::Quit, &[Key::Control('c')]),
    Binding::new(C::Message, A::Cancel, &[key(K::Esc), key(K::Enter), ch('q'), ch('n'), ch('y')])
        .label("Esc", "close")
        .footer(1),
    Binding::new(C::Message, A::Quit, &[Key::Control('c')]),
    Binding::new(C::Form, A::Accept, &[key(K::Enter)]).label("Enter", "set").footer(1).operates(),
    Binding::new(C::Form, A::Cancel, &[key(K::Esc), ch('q')]).label("Esc", "cancel").footer(2),
    Binding::new(C::Form, A::Next, &[key(K::Tab), key(K::Down), ch('j')]).label("Tab ↓", "next").footer(3),
    Binding::new(C::Form, A::Previous, &[key(K::BackTab), key(K::Up), ch('k')]).label("S-Tab ↑", "before").footer(6),
    Binding::new(C::Form, A::AllOff, &[ch('o')]).label("o", "all off").footer(4),
    Binding::new(C::Form, A::Base, &[ch('b')]).label("b", "base faults").footer(5),
    Binding::new(C::Form, A::Erase, &[key(K::Backspace), Key::Control('h')]),
    Binding::new(C::Form, A::Clear, &[Key::Control('u'), key(K::Delete)]),
    Binding::new(C::Form, A::Quit, &[Key::Control('c')]),
    Binding::new(C::TooSmall, A::Quit, &[ch('q'), Key::Control('c')]).label("q", "quit").footer(1),
];

/// The keys that there are, in the table's order.
pub(crate) fn bindings(context: Context, hands: Hands) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |b| b.context == context && b.allowed(hands))
}

/// What a key does.
pub(crate) fn action(context: Context, hands: Hands, event: KeyEvent) -> Option<Action> {
    let pressed = match event.code {
        KeyCode::Char(c) if event.modifiers.contains(KeyModifiers::CONTROL) => Key::Control(c.to_ascii_lowercase()),
        _ if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return None,
        code => Key::Plain(code),
    };
    bindings(context, hands).find(|b| b.keys.contains(&pressed)).map(|b| b.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things() {
        for (i, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[i + 1..] {
                let clash = a.context == b.context && a.keys.iter().any(|k| b.keys.contains(k));
                assert!(!clash, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn every_browsing_key_is_explained() {
        for b in bindings(Context::Browse, Hands::Operate) {
            assert!(!b.label.is_empty() && !b.help.is_empty(), "{b:?}");
        }
    }

    #[test]
    fn read_only_hands_have_no_key_that_changes_the_fleet() {
        for c in ['K', 'R', 'd', 'f'] {
            let event = KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
            assert!(action(Context::Browse, Hands::Operate, event).is_some());
            assert_eq!(action(Context::Browse, Hands::ReadOnly, event), None);
        }
    }
}
