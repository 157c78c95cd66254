"""A model for a whole run: loaded once, measured, trained, measured again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mathtune import progress, ranks
from mathtune.config.schema import Recipe
from mathtune.errors import ModelError
from mathtune.generation.engine import StreamingEngine
from mathtune.models import adapters
from mathtune.models import loading as models
from mathtune.models.base_fingerprint import base_note
from mathtune.models.checks.weights import check_vocabulary, embedding_rows
from mathtune.models.compute import Compute, pick_compute
from mathtune.models.train_tokenizer import train_tokenizer, training_texts
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem, ProblemSet, Splits
from mathtune.runs import Run
from mathtune.text.counts import counted, percent
from mathtune.training.batching.limits import limits
from mathtune.training.batching.max_length import fitting
from mathtune.training.loss.supervised import token_logprobs

if TYPE_CHECKING:
    from mathtune.training.objective import Learning
    from mathtune.training.run import TrainingResult

log = logging.getLogger(__name__)


@dataclass
class Session:
    """A model with its tokenizer, on its device, as a recipe holds it."""

    recipe: Recipe
    model: Any
    tokenizer: Any
    compute: Compute

    @classmethod
    def load(
        cls,
        recipe: Recipe,
        texts: Sequence[Problem] = (),
        *,
        run: Run | None = None,
        to_train: bool = False,
    ) -> Session:
        """Load the recipe's base model, or build it with a tokenizer trained on ``texts``.

        In a ``run``, the first choice of dtype is kept for all stages and restarts, because it
        depends on a timing, which can vary. ``to_train`` leaves weights out that are read when the
        model is sharded, so that it can only be trained.

        Raises:
            ModelError: If it cannot be loaded or built.
        """
        models.quiet_libraries()
        kept = run.inputs("compute") if run is not None else None
        compute = pick_compute(
            recipe.model.dtype, trains_all_weights=recipe.adapter is None, kept=kept
        )
        dtype = str(compute.dtype).removeprefix("torch.")
        log.info(f"{compute.name}: {dtype}, {compute.reason}")
        if recipe.model.from_config is not None:
            assert recipe.model.train_tokenizer is not None  # the schema asks for both
            tokenizer = train_tokenizer(training_texts(texts), recipe.model.train_tokenizer)
            model = models.build_from_config(recipe.model, tokenizer, compute, recipe.seed)
        else:
            name = recipe.model.name_or_path or ""
            tokenizer = models.load_tokenizer(
                name, recipe.model.revision, trust=recipe.model.trust_remote_code
            )
            Renderer(tokenizer, recipe.prompt.style, system=recipe.prompt.system)  # it can render
            model = None
            if to_train:
                model = _without_weights(recipe, compute)
            if model is None:
                model = models.load_model(recipe.model, compute)
            check_vocabulary(name, tokenizer, model)
            if (note := base_note(name, recipe.model.revision)) is not None:
                log.info(note)
        return cls(recipe, model, tokenizer, compute)

    @classmethod
    def load_tuned(cls, recipe: Recipe, run: Run) -> Session:
        """Load the weights that an earlier training of this run saved."""
        tuned = recipe.model.model_copy(
            update={
                "name_or_path": str(run.model),
                "revision": None,
                "from_config": None,
                "train_tokenizer": None,
            }
        )
        return cls.load(recipe.model_copy(update={"model": tuned}), run=run)

    def renderer(self, *, completion_only: bool = True, shots: Sequence[Problem] = ()) -> Renderer:
        """Return the renderer of the recipe's prompt style for this tokenizer."""
        return Renderer(
            self.tokenizer,
            self.recipe.prompt.style,
            system=self.recipe.prompt.system,
            completion_only=completion_only,
            shots=shots,
            embeddings=embedding_rows(self.model),
        )

    def engine(self, interrupted: Callable[[], bool] = lambda: False) -> StreamingEngine:
        """Return an engine that decodes with the model as it is now, until interrupted."""
        from mathtune.generation.hf import HFEngine

        rows = self.recipe.eval.batch_size
        return HFEngine(self.model, self.tokenizer, rows=rows, interrupted=interrupted)

    def context(self) -> int | None:
        """Return how many tokens the model was made for, if its configuration states it."""
        return models.context_length(self.model)

    def score(self, examples: Sequence[Example]) -> Iterator[list[float]]:
        """Yield the log-probability of each token of each example.

        Raises:
            ModelError: If an example is longer than the model's context.
        """
        context = self.context()
        longest = max((len(example.ids) for example in examples), default=0)
        if context is not None and longest > context:
            raise ModelError(
                f"a solution with its prompt has {longest} tokens and the model's context {context}"
                ", so its perplexity cannot be measured; set eval.perplexity=false"
            )
        mine = ranks.share(examples)
        with progress.bar("scoring solutions", len(mine)) as bar:
            within = limits(self.recipe, self.model)
            own = list(token_logprobs(self.model, mine, within, bar.update))
        parts = [iter(part) for part in ranks.gather(own)]
        return (next(parts[index % len(parts)]) for index in range(len(examples)))

    def check(self, splits: Splits) -> None:
        """Check within seconds for whatever would stop training on the splits.

        Raises:
            DataError: If no example fits ``train.max_length``, or one does not and may not be
                dropped.
            ModelError: If ``train.max_length`` is beyond the model's context, or the adapter's
                modules are not in the model.
        """
        limit, overlong = self.recipe.train.max_length, self.recipe.train.overlong
        for name, part in (("training", splits.train), ("validation", splits.validation)):
            if not part.problems:
                continue
            self._check_context()
            examples = map(self.renderer().example, part.problems)
            if overlong == "drop" and any(len(example.ids) <= limit for example in examples):
                continue
            fitting(list(map(self.renderer().example, part.problems)), limit, overlong, name)
        if self.recipe.adapter is not None and not hasattr(self.model, "peft_config"):
            adapters.check_targets(self.model, self.recipe.adapter)

    def _check_context(self) -> None:
        context, limit = self.context(), self.recipe.train.max_length
        if context is not None and limit > context:
            raise ModelError(
                f"train.max_length={limit} is beyond the model's context of {context} tokens; set "
                f"train.max_length={context} or less"
            )

    def train(
        self,
        splits: Splits,
        run: Run,
        exact_match: Callable[[Session, Callable[[], bool]], float] | None = None,
        learning: Learning | None = None,
    ) -> TrainingResult:
        """Train on the splits; afterwards the model has the weights that validation chose.

        Args:
            splits: Training and validation problems.
            run: Where checkpoints, metrics and the model go.
            exact_match: Called at every validation with this session and a function that tells if a
                signal came, on which it raises ValidationInterrupted; logged next to the loss.
            learning: What is learned instead of the training problems' solutions.

        Raises:
            DataError: If no example fits ``train.max_length``.
            ModelError: If ``train.max_length`` is beyond the model's context.
            TrainingStopped: See ``training.run.train``.
        """
        from mathtune.training.run import train  # 2 s that nothing but training needs

        recipe = self.recipe
        self._check_context()
        unit = "problem" if learning is None else learning.unit
        if learning is None:
            train_examples, too_long = self._fitting(
                "training", splits.train, completion_only=recipe.train.completion_only_loss
            )
        else:
            train_examples, too_long = learning.prepare(self.renderer()), 0  # says what it drops
        # On solutions, so that validation loss means the same for every recipe.
        validation_examples, too_long_for_validation = self._fitting(
            "validation", splits.validation, completion_only=True
        )
        if learning is not None:
            validation_examples = learning.validation(self.renderer()) or validation_examples
        self._add_adapter(run)
        run.note(training={"too_long": {"train": too_long, "validation": too_long_for_validation}})
        self._note_what_is_trained(run, counted(len(train_examples), unit))
        return train(
            recipe,
            model=self.model,
            tokenizer=self.tokenizer,
            compute=self.compute,
            train_examples=train_examples,
            validation_examples=validation_examples,
            run_dir=run.folder,
            exact_match=None if exact_match is None else partial(exact_match, self),
            learning=learning,
        )

    def _note_what_is_trained(self, run: Run, examples: str) -> None:
        counts = models.count_parameters(self.model)
        run.note(
            parameters=counts.to_json(),
            device=self.compute.name,
            dtype=str(self.compute.dtype).removeprefix("torch."),
            dtype_reason=self.compute.reason,
        )
        log.info(
            f"training {counts.trainable:,} of {counts.total:,} parameters "
            f"({percent(counts.trainable_share, 2)}) on {examples}"
        )

    def _add_adapter(self, run: Run) -> None:
        """Add the recipe's adapter, unless the model has one."""
        config, seed = self.recipe.adapter, self.recipe.seed
        if config is not None and not hasattr(self.model, "peft_config"):
            from mathtune.models.sharded import stand_ins

            with ranks.main_process_first(), stand_ins(self.model):
                self.model = adapters.add_adapter(self.model, config, seed, run.initial_adapter)

    def _fitting(
        self, what: str, problems: ProblemSet, *, completion_only: bool
    ) -> tuple[list[Example], int]:
        """Return the examples that fit ``train.max_length``, and how many do not."""
        settings, renderer = self.recipe.train, self.renderer(completion_only=completion_only)
        examples = []
        with progress.bar(f"rendering {what} examples", len(problems)) as bar:
            for number, problem in enumerate(problems.problems, start=1):
                examples.append(renderer.example(problem))
                bar.update(number)
        kept, left_out = fitting(examples, settings.max_length, settings.overlong, what)
        if unknown := renderer.unknown(kept) if what == "training" else 0:
            log.info(
                f"{counted(unknown, 'training example')} with characters that the tokenizer does "
                f"not know (replaced by {self.tokenizer.unk_token})"
            )
        if left_out:
            log.info(
                f"{counted(left_out, f'{what} example')} longer than {settings.max_length} tokens "
                "left out"
            )
        return kept, left_out


def _without_weights(recipe: Recipe, compute: Compute) -> Any | None:
    """Return the model without the weights that each rank reads for itself, or None if it cannot.

    PiSSA and DoRA compute their adapters from the weights.
    """
    from mathtune.models.sharded import build_without_weights
    from mathtune.training.accelerator import is_sharded_first

    adapter = recipe.adapter
    if adapter is not None and (adapter.is_pissa or adapter.use_dora):
        return None
    return build_without_weights(recipe.model, compute) if is_sharded_first(recipe) else None
