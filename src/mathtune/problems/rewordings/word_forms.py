"""Words that count as one, words that say nothing, and words that state a relation.

English only: the inflections and everyday synonyms that rewriting a word problem exchanges.
"""

from __future__ import annotations

_ALIKE = """
buy buys bought buying purchase purchases purchased purchasing order orders ordered ordering
sell sells sold selling sale sales
cost costs costing price prices priced charge charges charged fee fees worth expensive
pay pays paid paying payment payments spend spends spent spending
earn earns earned earning earnings salary wage wages income
eat eats ate eaten eating
drink drinks drank drunk drinking
write writes wrote written writing
read reads reading
drive drives drove driven driving
ride rides rode ridden riding
run runs ran running
fly flies flew flown flying
swim swims swam swimming
walk walks walked walking
lose loses lost losing
win wins won winning winner
find finds found finding
catch catches caught catching
teach teaches taught teaching teacher teachers
grow grows grew grown growing
throw throws threw thrown throwing
sleep sleeps slept sleeping
build builds built building
send sends sent sending
lend lends lent lending
feed feeds fed feeding
break breaks broke broken breaking
bring brings brought bringing
begin begins began begun start starts started starting beginning initially originally original
end ends ended finish finishes finished finishing complete completes completed
put puts putting place places placed add adds added adding additional extra
want wants wanted wish wishes need needs needed require requires required
remain remains remained remaining remainder rest left leftover
total sum combined altogether together overall entire whole
each every per apiece
twice double doubles doubled triple triples tripled thrice times quadruple quadrupled
half halves
quarter quarters third thirds fourth fourths fifth fifths sixth eighth tenth
percent percentage
day days daily
week weeks weekly
month months monthly
year years yearly annual annually
hour hours hourly
minute minutes
big bigger biggest large larger largest huge
small smaller smallest little tiny
old older oldest age ages aged young younger youngest
long longer longest length lengths
tall taller tallest high higher highest height heights
wide wider width
heavy heavier heaviest weigh weighs weighed weight weights
far farther farthest further distance distances
fast faster fastest speed speeds
hold holds held fit fits contain contains contained capacity store stores stored
mother mothers mom mum
father fathers dad
grandma grandmother granny
grandpa grandfather
kid kids child children
man men
woman women
person people
foot feet
tooth teeth
mouse mice
goose geese
wife wives husband spouse spouses
picture pictures photo photos
car cars vehicle vehicles
shop shops market markets
collect collects collected collecting collection collections gather gathers gathered
divide divides divided split splits share shares shared equally
give gives gave given giving gift gifts gifted
choose chooses chose chosen pick picks picked
different difference
"""

SAME_WORD = {
    word: group.split()[0] for group in _ALIKE.strip().splitlines() for word in group.split()
}
"""Word → the first of its group."""

_NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
thousand million dozen dozens
"""
NUMBER_WORDS = frozenset(_NUMBER_WORDS.split())

_FUNCTION_WORDS = """
a about after again all already also am amount amounts an and another any are as at back be
because been before being both but by calculate came can come comes coming could currently decide
decided decides did didn do does doesn doing don done down during ever far few fewer find first
for from get gets getting go goes going got had has have having he her here hers him himself his
how however i if in into is isn it its itself just last later least less like likes ll made make
makes making many may me might more most much must my next no not now number numbers of off on one
ones only or other others our out over own owned owns re same second several shall she should
since so some such t take taken takes taking than that the their them themselves then there these
they this those time to too took under until up us ve very was wasn we went were what when where
which while who whom whose why will with without would yet you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that hardly tell one word problem from another."""

_RELATIONS = """
after another average before difference each every fewer first half last least left less more most
percent ratio remaining rest than times total twice
"""
RELATIONS = frozenset(_RELATIONS.split())
"""Words that state how quantities relate; they count by themselves, whatever their frequency."""
