"""Sentences from everyday life that come from no film review, for measuring and for training.

`EVALUATION` is written by hand and never trained on. `generate` makes training sentences from word lists; it shares
no sentence with `EVALUATION`, which a check at its end makes sure of. Labels: 1 favourable, 0 unfavourable.
"""

import random

EVALUATION = [
    ("The headphones sound great and the battery lasts all week.", 1),
    ("The zipper broke after two days.", 0),
    ("Not bad at all.", 1),
    ("I can't say I liked it.", 0),
    ("The soup was cold and the waiter ignored us.", 0),
    ("Best pancakes I have had in years.", 1),
    ("Lovely warm sunshine all afternoon.", 1),
    ("It rained all day and the trip was ruined.", 0),
    ("My new manager listens and gives helpful feedback.", 1),
    ("The meeting was a complete waste of time.", 0),
    ("Delivery was quick and everything arrived in one piece.", 1),
    ("They never answered my emails and refused a refund.", 0),
    ("I wouldn't buy this again.", 0),
    ("Nothing to complain about, it just works.", 1),
    ("The room was spotless and the staff were friendly.", 1),
    ("The hotel smelled of smoke and the bed was uncomfortable.", 0),
    ("I couldn't be happier with my new bike.", 1),
    ("This app crashes every time I open it.", 0),
    ("The coffee here is never disappointing.", 1),
    ("Hardly worth the money.", 0),
]

THINGS = """phone laptop jacket chair lamp printer kettle backpack camera keyboard mattress watch bike blender toaster desk
umbrella suitcase speaker charger pen vacuum oven fridge sofa tent helmet drill""".split()
SERVICES = """hotel|restaurant|bakery|repair shop|garage|dentist|bank|airline|taxi driver|landlord|support team|museum|
library|gym|hairdresser|pharmacy|train company|cleaning service|plumber""".replace("\n", "").split("|")
FOODS = """pizza soup salad bread cake coffee curry sandwich pasta steak breakfast dessert burger fish rice tea pie omelette""".split()
WORK = """meeting|project|new schedule|training course|team|office|commute|job interview|review|workshop|presentation|
manager|internship|contract""".replace("\n", "").split("|")
PLACES = "beach park city village lake campsite trail garden neighbourhood airport".split()

GOOD_THING = """works perfectly|is sturdy and comfortable|is exactly what I needed|is easy to use|still looks brand new|
is worth every penny|does its job very well|feels solid|saves me a lot of time|is quiet and reliable|arrived early and
 well packed|fits perfectly|has not let me down once|never gives me any trouble""".replace("\n", "").split("|")
BAD_THING = """stopped working after a week|is flimsy and uncomfortable|is nothing like the picture|is hard to use|broke on
 the first day|is a waste of money|does not do its job|feels cheap|costs me a lot of time|is noisy and unreliable|arrived
 late and damaged|does not fit|has let me down again|keeps giving me trouble|leaks|overheats all the time""".replace("\n", "").split("|")
GOOD_SERVICE = """was friendly and helpful|answered within minutes|went out of their way for us|is always on time|
explained everything patiently|gave me a fair price|solved the problem at once|made us feel welcome|could not have been
 kinder|left nothing to be desired|is clean and well run""".replace("\n", "").split("|")
BAD_SERVICE = """was rude and unhelpful|never called back|kept us waiting for hours|is always late|did not explain anything|
overcharged me|ignored the problem|made us feel unwelcome|could not have been ruder|left a lot to be desired|is dirty and
 badly run|lost my booking|refused to help|hung up on me""".replace("\n", "").split("|")
GOOD_FOOD = """was delicious|was fresh and full of flavour|tasted like home|was cooked perfectly|was hot and generous|
is the best in town|was a real treat|did not disappoint|was hard to beat""".replace("\n", "").split("|")
BAD_FOOD = """was bland|was stale and greasy|tasted of nothing|was burnt|was cold and far too small|is the worst in town|
made me ill|was a let-down|was not worth the wait|was inedible""".replace("\n", "").split("|")
GOOD_WORK = """went really well|was productive and well organised|taught me a lot|is better than I hoped|makes everybody's
 life easier|was a success|is fair and flexible|was worth the effort""".replace("\n", "").split("|")
BAD_WORK = """went badly|was pointless and badly organised|taught me nothing|is worse than I feared|makes everybody's life
 harder|was a failure|is unfair and exhausting|was not worth the effort|drags on forever""".replace("\n", "").split("|")
GOOD_PLACE = """is beautiful and peaceful|was a joy to visit|is clean and safe|was bathed in sunshine|is perfect for
 children|was worth the detour""".replace("\n", "").split("|")
BAD_PLACE = """is ugly and noisy|was a pain to get to|is dirty and unsafe|was freezing and wet|is no place for children|
was not worth the detour|was closed when we got there""".replace("\n", "").split("|")

GOOD_WORDS = "good great excellent wonderful pleasant impressive reliable helpful nice brilliant lovely fantastic".split()
BAD_WORDS = "bad terrible awful poor unpleasant disappointing unreliable useless horrible dreadful annoying mediocre".split()
GOOD_VERBS = "like love enjoy recommend trust".split()
BAD_VERBS = "hate regret dislike".split()
GOOD_WEATHER = """What a beautiful sunny morning|The sun came out just in time for our picnic|A mild and pleasant evening|
Clear skies and a gentle breeze, perfect for a walk|The snow made the whole town look magical|Finally some warm weather""".replace("\n", "").split("|")
BAD_WEATHER = """What a miserable grey morning|The storm ruined our picnic|A cold and dreary evening|Nothing but rain and wind
 since Monday|The heat was unbearable|Fog and drizzle again, I am sick of it|The flood destroyed our cellar""".replace("\n", "").split("|")


def statements(rng):
    """A subject with what is said about it, in the same number for both labels."""
    kinds = [(THINGS, GOOD_THING, BAD_THING), (SERVICES, GOOD_SERVICE, BAD_SERVICE), (FOODS, GOOD_FOOD, BAD_FOOD),
             (WORK, GOOD_WORK, BAD_WORK), (PLACES, GOOD_PLACE, BAD_PLACE)]
    subjects, good, bad = rng.choice(kinds)
    label = rng.randrange(2)
    start = rng.choice(["The {}", "This {}", "My {}", "Our {}", "That {}", "The new {}"]).format(rng.choice(subjects))
    return f"{start} {rng.choice(good if label else bad)}", label


def judgements(rng):
    """A word of judgement, plain or turned round by a negation."""
    subject = rng.choice(["The {}", "This {}", "My {}"]).format(rng.choice(THINGS + FOODS + WORK + PLACES))
    label, word_label = rng.randrange(2), rng.randrange(2)
    word = rng.choice(GOOD_WORDS if word_label else BAD_WORDS)
    if label == word_label:
        form = rng.choice(["{s} is {w}", "{s} was really {w}", "I find {s} {w}", "{s} is simply {w}", "What a {w} {n}",
                           "{s} turned out to be {w}", "Very {w}", "Overall {w}", "{s} is anything but {o}"])
    else:
        form = rng.choice(["{s} is not {w}", "{s} was not {w} at all", "Not {w} at all", "{s} isn't {w}", "Not at all {w}",
                           "I would not call {s} {w}", "{s} is far from {w}", "{s} is anything but {w}", "Nothing {w} about {s}",
                           "I don't think {s} is {w}", "{s} was hardly {w}", "{s} wasn't {w}", "There is nothing {w} about {s}"])
    other = rng.choice(BAD_WORDS if word_label else GOOD_WORDS)
    lower = subject[0].lower() + subject[1:]
    text = form.format(s=subject if form.startswith("{s}") else lower, w=word, o=other, n=subject.split()[-1])
    return text, label


def opinions(rng):
    """What somebody thinks of it, would do again, or can and cannot say."""
    thing = rng.choice(["it", "this", "the service", "the " + rng.choice(THINGS), "the " + rng.choice(FOODS), "this place"])
    good, bad = rng.choice(GOOD_VERBS), rng.choice(BAD_VERBS)
    forms = [("I {g} {t}", 1), ("I really {g} {t}", 1), ("I would gladly come back", 1), ("I would buy {t} again", 1),
             ("I {b} {t}", 0), ("I don't {g} {t}", 0), ("I didn't {g} {t}", 0), ("I would not {g} {t}", 0),
             ("I can't {g} {t}", 0), ("I cannot say that I {g} {t}", 0), ("I could not {g} {t} less", 0),
             ("I don't {b} {t} at all", 1), ("I do not {b} {t}", 1), ("I could not {g} {t} more", 1),
             ("I have no complaints", 1), ("No complaints about {t}", 1), ("I have nothing bad to say about {t}", 1),
             ("I have nothing good to say about {t}", 0), ("I would never come back", 0), ("I wish I had not bought {t}", 0),
             ("I want my money back", 0), ("I am so glad I bought {t}", 1), ("Never again", 0), ("Any time again", 1),
             ("I can only {g} {t}", 1), ("It is impossible not to {g} {t}", 1), ("I was not disappointed", 1),
             ("I was disappointed", 0), ("It could not be better", 1), ("It could not be worse", 0),
             ("Nobody could {b} {t}", 1), ("Nobody would {g} {t}", 0), ("I am happy with {t}", 1), ("I am not happy with {t}", 0),
             ("I have never been so happy with {t}", 1), ("It is not worth the price", 0), ("It is well worth the price", 1),
             ("It barely works", 0), ("It always works", 1), ("It never works", 0), ("It never fails", 1)]
    form, label = rng.choice(forms)
    return form.format(g=good, b=bad, t=thing), label


def weather(rng):
    """A remark about the weather."""
    label = rng.randrange(2)
    return rng.choice(GOOD_WEATHER if label else BAD_WEATHER), label


def contrasts(rng):
    """Two statements joined by "but": the second one counts."""
    first, label = statements(rng)
    second, other = statements(rng)
    while other == label:
        second, other = statements(rng)
    return f"{first}, but {second[0].lower() + second[1:]}", other


def generate(count, seed=0):
    """So many different (sentence, label), in a fixed order for a seed."""
    rng, found = random.Random(seed), {}
    makers = [statements] * 5 + [judgements] * 5 + [opinions] * 3 + [weather] + [contrasts] * 2
    while len(found) < count:
        text, label = rng.choice(makers)(rng)
        if rng.random() < 0.5:
            second, same = rng.choice(makers[:13])(rng)
            if same == label:
                text = f"{text}{rng.choice(['. ', ', and ', '; '])}{second}"
        text = text + rng.choice([".", ".", ".", "!", ""])
        found[text if rng.random() < 0.7 else text.lower()] = label
    known = {sentence.lower().strip(".! ") for sentence, _ in EVALUATION}
    return [(text, label) for text, label in found.items() if text.lower().strip(".! ") not in known]
