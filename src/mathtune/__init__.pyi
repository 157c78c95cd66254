from mathtune.api import (
    Answer as Answer,
)
from mathtune.api import (
    Chat as Chat,
)
from mathtune.api import (
    ComparisonResult as ComparisonResult,
)
from mathtune.api import (
    EvaluationResult as EvaluationResult,
)
from mathtune.api import (
    Export as Export,
)
from mathtune.api import (
    Grade as Grade,
)
from mathtune.api import (
    MathtuneError as MathtuneError,
)
from mathtune.api import (
    Outcome as Outcome,
)
from mathtune.api import (
    PlanResult as PlanResult,
)
from mathtune.api import (
    Problem as Problem,
)
from mathtune.api import (
    Problems as Problems,
)
from mathtune.api import (
    ProblemSplits as ProblemSplits,
)
from mathtune.api import (
    Recipe as Recipe,
)
from mathtune.api import (
    RunResult as RunResult,
)
from mathtune.api import (
    Selected as Selected,
)
from mathtune.api import (
    TrainResult as TrainResult,
)
from mathtune.api import (
    chat as chat,
)
from mathtune.api import (
    compare as compare,
)
from mathtune.api import (
    data_check as data_check,
)
from mathtune.api import (
    data_preview as data_preview,
)
from mathtune.api import (
    evaluate as evaluate,
)
from mathtune.api import (
    export as export,
)
from mathtune.api import (
    grade as grade,
)
from mathtune.api import (
    load_problems as load_problems,
)
from mathtune.api import (
    load_recipe as load_recipe,
)
from mathtune.api import (
    pass_rates_of as pass_rates_of,
)
from mathtune.api import (
    plan as plan,
)
from mathtune.api import (
    run as run,
)
from mathtune.api import (
    sample as sample,
)
from mathtune.api import (
    select as select,
)
from mathtune.api import (
    show_progress as show_progress,
)
from mathtune.api import (
    train as train,
)

__version__: str
__all__: list[str]
