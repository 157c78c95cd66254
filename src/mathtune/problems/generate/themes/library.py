"""Books, readers and shelves."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import DAY, HOUR, WEEKDAYS, nouns

BOOKS = nouns(
    "novel, comic, atlas/atlases, cookbook, magazine, picture book, dictionary/dictionaries"
)


@template("leftover", steps=2)
def loans_and_returns(d: Draw) -> Story:
    novel, day = d.one_of(BOOKS), d.one_of(WEEKDAYS)
    start, back = d.number(40, 300), d.number(3, 40)
    lent = d.number(3, 39)
    after = start - lent
    now = after + back
    return Story(
        facts=(
            d.pick(
                f"A library has {novel(start)} on its shelves.",
                f"There are {novel(start)} in a library.",
            ),
            d.pick(
                f"On {day} readers borrow {lent} of the {novel.many}.",
                f"The library lends out {lent} of the {novel.many} on {day}.",
            ),
            d.pick(
                f"The next day {back} other {novel.many} are brought back.",
                f"A day later readers return {novel(back)}.",
            ),
        ),
        question=d.pick(
            f"How many {novel.many} are in the library then?",
            f"How many {novel.many} does the library have on its shelves now?",
            f"What is the number of {novel.many} on the shelves in the end?",
        ),
        solution=(
            d.pick(
                f"After the loans there are {after:=} {novel.many}.",
                f"First the number goes down to {after:=}.",
            ),
            f"With the returned ones there are {now:=} {novel.many}.",
        ),
        answer=now,
    )


@template("work_backward", steps=3)
def pages_in_the_book(d: Draw) -> Story:
    tom, book = d.person(), d.one_of(BOOKS)
    left, friday, more = d.number(5, 80), d.number(10, 60), d.number(2, 20)
    saturday = friday + more
    read = friday + saturday
    pages = read + left
    return Story(
        facts=(
            d.pick(
                f"{tom} reads {friday} pages of {book.a} on Friday.",
                f"On Friday {tom} starts {book.a} and reads {friday} pages.",
            ),
            d.pick(
                f"On Saturday {tom} reads {more} pages more than on Friday.",
                f"The next day {tom} gets through {more} pages more than on Friday.",
            ),
            d.pick(f"Now {left} pages are left.", f"After that {tom} has {left} pages to go."),
        ),
        question=d.pick(
            f"How many pages does {tom}'s {book} have?",
            f"How many pages long is the {book} that {tom} reads?",
            f"What is the number of pages in {tom}'s {book}?",
        ),
        solution=(
            f"On Saturday {tom} reads {saturday:=} pages.",
            f"In two days that is {read:=} pages.",
            d.pick(f"The {book} has {pages:=} pages.", f"In all there are {pages:=} pages."),
        ),
        answer=pages,
    )


@template("rate_time", steps=2)
def reading_speed(d: Draw) -> Story:
    tom, book = d.person(), d.one_of(BOOKS)
    rate, hours, days = d.number(12, 60), d.number(2, 5), d.number(2, 9)
    daily = rate * hours
    pages = daily * days
    return Story(
        facts=(
            d.pick(
                f"{tom} reads {rate} pages an hour.",
                f"In one hour {tom} reads {rate} pages of {book.a}.",
            ),
            d.pick(
                f"{tom} reads for {HOUR(hours)} a day.",
                f"{tom} spends {HOUR(hours)} with the {book} every day.",
            ),
            d.pick(
                f"After {DAY(days)} the {book} is finished.",
                f"The {book} takes {tom} {DAY(days)}.",
            ),
        ),
        question=d.pick(
            f"How many pages does {tom} read?",
            f"How many pages does the {book} that {tom} reads have?",
            f"What is the number of pages that {tom} reads?",
        ),
        solution=(
            f"{tom} reads {daily:=} pages a day.",
            d.pick(f"In all {tom} reads {pages:=} pages.", f"That makes {pages:=} pages."),
        ),
        answer=pages,
    )


@template("fraction_part", steps=2)
def shelves_of_two_kinds(d: Draw) -> Story:
    (novel, comic), share = d.two_of(BOOKS), d.fraction()
    books = d.multiple(share.bottom, 10, 90)
    novels = books.times(share.top, share.bottom)
    comics = books - novels
    return Story(
        facts=(
            d.pick(
                f"A reading room has {books} books.",
                f"There are {books} books in a school library.",
                f"A small library owns {books} books.",
            ),
            d.pick(
                f"In this room {share} of the books are {novel.many}, the rest {comic.many}.",
                f"Of the books {share} are {novel.many} and the others are {comic.many}.",
            ),
        ),
        question=d.pick(
            f"How many {comic.many} are there?",
            f"How many of the books are {comic.many}?",
            f"What is the number of {comic.many}?",
        ),
        solution=(
            f"There are {novels:=} {novel.many}.",
            d.pick(
                f"The rest are {comics:=} {comic.many}.", f"That leaves {comics:=} {comic.many}."
            ),
        ),
        answer=comics,
    )


@template("share_equally", steps=2)
def books_per_shelf(d: Draw) -> Story:
    tom, (novel, comic) = d.person(), d.two_of(BOOKS)
    shelves, each = d.number(3, 12), d.number(6, 40)
    count = shelves * each
    novels = d.number(5, int(count) - 5)
    comics = count - novels
    books = novels + comics
    share = books / shelves
    return Story(
        facts=(
            d.pick(
                f"{tom} sorts {novel(novels)} and {comic(comics)}.",
                f"A cart with {novel(novels)} and {comic(comics)} waits for {tom}.",
            ),
            d.pick(
                f"{tom} puts the same number of books on each of {shelves} shelves.",
                f"The books go on {shelves} shelves, as many on one as on the next.",
            ),
        ),
        question=d.pick(
            f"How many books does {tom} put on each shelf?",
            f"How many books are on one of {tom}'s shelves?",
            f"What number of books stands on each shelf when {tom} is done?",
        ),
        solution=(
            f"There are {books:=} books.",
            d.pick(f"Each shelf holds {share:=} books.", f"One shelf gets {share:=} books."),
        ),
        answer=share,
    )


@template("equal_groups", steps=3, held_out=True)
def two_rooms_of_shelves(d: Draw) -> Story:
    novel, (a, b) = d.one_of(BOOKS), (d.number(3, 20), d.number(3, 20))
    n, m = d.number(8, 50), d.number(8, 50)
    first, second = a * n, b * m
    books = first + second
    return Story(
        facts=(
            d.pick(
                f"A library keeps {novel.many} in two rooms.",
                f"Two rooms of a library are full of {novel.many}.",
            ),
            d.pick(
                f"The upper room has {a} shelves with {n} {novel.many} each.",
                f"Upstairs there are {a} shelves, each with {n} {novel.many}.",
            ),
            d.pick(
                f"The lower room has {b} shelves with {m} {novel.many} each.",
                f"Downstairs there are {b} shelves, each with {m} {novel.many}.",
            ),
        ),
        question=d.pick(
            f"How many {novel.many} does the library have in both rooms?",
            f"How many {novel.many} are there in all?",
            f"What is the total number of {novel.many}?",
        ),
        solution=(
            f"The upper room holds {first:=} {novel.many}.",
            f"The lower room holds {second:=} {novel.many}.",
            f"In both rooms there are {books:=}.",
        ),
        answer=books,
    )


@template("change_back", steps=1)
def one_book_one_note(d: Draw) -> Story:
    tom, novel = d.person(), d.one_of(BOOKS)
    price = d.price(3, 48)
    low = int(price) // 10 * 10 + 10
    paid = d.number(low, low + 40, 10)
    change = paid - price
    return Story(
        facts=(
            d.pick(
                f"{tom} finds {novel.a} for {price:$} at a book sale.",
                f"A book sale has {novel.a} for {price:$}, and {tom} takes it.",
                f"{tom} buys {novel.a} that costs {price:$}.",
            ),
            d.pick(
                f"{tom} gives the seller {paid:$}.",
                f"{tom} pays with {paid:$}.",
                f"The seller gets {paid:$} from {tom}.",
            ),
        ),
        question=d.pick(
            f"How much change does {tom} get?",
            f"How much money does the seller give back to {tom}?",
            f"What does {tom} get back?",
        ),
        solution=(d.pick(f"The change is {change:=$}.", f"{tom} gets back {change:=$}."),),
        answer=change,
        aside=f"The {novel} is {d.number(2, 40)} years old.",
    )


TEMPLATES = (
    loans_and_returns,
    pages_in_the_book,
    reading_speed,
    shelves_of_two_kinds,
    books_per_shelf,
    two_rooms_of_shelves,
    one_book_one_note,
)
