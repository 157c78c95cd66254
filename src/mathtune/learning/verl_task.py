"""A recipe as a task of verl (Sheng et al. 2024, "HybridFlow"): policy gradient on a cluster.

Written into one folder: Parquet files in verl's schema, ``reward.py`` with this project's grader,
and ``launch.sh`` with the recipe's settings under verl's names. verl always applies a chat
template; where the recipe's style is no chat, the message is the whole prompt and the template only
passes it on, so that the model sees the ids that it sees here. That is checked for every problem.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mathtune
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, DataError
from mathtune.learning.reward import MARKED, rewardable
from mathtune.models import files as model_files
from mathtune.prompts import Renderer, TextRenderer
from mathtune.prompts.styles import CHAT
from mathtune.records import Problem, Splits
from mathtune.storage import replace_file, write_text

TESTED_WITH = "0.9.1"
"""Release of verl whose reader and configuration the files were checked against."""

_LOSS = {"dapo": "token-mean", "dr_grpo": "seq-mean-token-sum-norm", "grpo": "seq-mean-token-mean"}

_REWARD = '''"""Reward of {name}: 1 for an answer that mathtune's grader finds right
and that has no zeros in front.

Written by mathtune {version}. verl calls ``compute_score`` for each answer; every machine that
does needs mathtune, and neither PyTorch nor a model is imported for it.
"""

from mathtune.grading import grade, is_padded

STOP = {stop!r}  # where evaluation cuts an answer; verl goes on generating
FORMAT_REWARD = {weight!r}
MARKED = {marked!r}


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """Return the reward, and figures for verl's log."""
    for stop in STOP:
        solution_str = solution_str.split(stop, 1)[0]
    verdict = grade(solution_str, ground_truth)
    marked = verdict.method in MARKED
    right = verdict.correct and not is_padded(verdict.extracted, ground_truth)
    return {{
        "score": float(right) + FORMAT_REWARD * marked,
        "acc": float(verdict.correct),
        "answered": float(verdict.extracted is not None),
    }}
'''


def write_task(
    recipe: Recipe, splits: Splits, shots: Sequence[Problem], folder: Path
) -> tuple[dict[str, int], list[str]]:
    """Write a recipe as a task of verl; return rows by file, and what verl does differently."""
    from mathtune.models.loading import load_tokenizer

    tokenizer = load_tokenizer(recipe.model.name_or_path or "", recipe.model.revision)
    renderer = Renderer(tokenizer, recipe.prompt.style, system=recipe.prompt.system, shots=shots)
    notes = list(differences(recipe))
    return VerlTask(recipe, renderer, shots, notes).write(splits, folder), notes


@dataclass
class VerlTask:
    """A recipe in verl's terms.

    Attributes:
        recipe: The recipe.
        renderer: Its prompts, as the model sees them here.
        shots: Solved problems before each question.
        notes: What verl does differently, for the user.
    """

    recipe: Recipe
    renderer: Renderer
    shots: Sequence[Problem] = ()
    notes: list[str] = field(default_factory=list)
    _longest: int = 0

    def write(self, splits: Splits, folder: Path) -> dict[str, int]:
        """Write all files; return the number of rows by file name.

        Raises:
            ConfigError: A setting has no counterpart in verl.
            DataError: verl would give the model other ids than this project does.
            DiskError: A file could not be written.
        """
        scale = self.recipe.grpo.scale_rewards
        if scale == "batch":
            raise ConfigError(
                "grpo.scale_rewards=batch has no counterpart in verl; set it to none or group"
            )
        folder.mkdir(parents=True, exist_ok=True)
        # Test problems stay out: verl validates while it trains, and mathtune eval measures after.
        files = {
            "train.parquet": rewardable(splits.train.problems),
            "validation.parquet": [p for p in splits.validation.problems if p.gold],
        }
        counts = {name: self._write_rows(folder / name, rows) for name, rows in files.items()}
        write_text(folder / "reward.py", self._reward())
        write_text(folder / "launch.sh", self._launch())
        return counts

    def _write_rows(self, path: Path, problems: Sequence[Problem]) -> int:
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [self._row(path.stem, index, problem) for index, problem in enumerate(problems)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        replace_file(path, [buffer.getvalue()])
        return len(rows)

    def _row(self, split: str, index: int, problem: Problem) -> dict[str, Any]:
        messages = self._messages(problem)
        ids = self._ids_in_verl(messages)
        ours = list(self.renderer.prompt(problem.question, problem.id).ids)
        if ids != ours:
            raise DataError(
                f"problem {problem.id!r}: verl would give the model {len(ids)} prompt tokens that "
                f"differ from the {len(ours)} it gets here; its chat template adds something of "
                "its own: set prompt.style to another style, or prompt.system to its text"
            )
        self._longest = max(self._longest, len(ids))
        return {
            "data_source": f"mathtune/{self.recipe.name}",
            "prompt": messages,
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem.gold},
            "extra_info": {
                "split": split,
                "index": index,
                "problem_id": problem.id,
                "question": problem.question,
                "answer": problem.answer,
            },
        }

    def _messages(self, problem: Problem) -> list[dict[str, str]]:
        prompt = self.recipe.prompt
        rendered = TextRenderer(prompt.style, system=prompt.system, shots=self.shots).prompt(
            problem.question
        )
        said = rendered.messages or (("user", rendered.text),)
        return [{"role": role, "content": content} for role, content in said]

    def _ids_in_verl(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids as verl makes them from messages."""
        tokenizer = self.renderer.tokenizer
        given = {} if self._template is None else {"chat_template": self._template}
        text = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=False, **given
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def _template(self) -> str | None:
        """A chat template that passes the text on, after the BOS that the tokenizer puts there."""
        if self.recipe.prompt.style == CHAT:
            return None
        tokenizer = self.renderer.tokenizer
        first = tokenizer("a")["input_ids"][0]
        bos = "{{ bos_token }}" if first == tokenizer.bos_token_id is not None else ""
        return bos + "{% for message in messages %}{{ message['content'] }}{% endfor %}"

    def _reward(self) -> str:
        return _REWARD.format(
            name=self.recipe.name,
            version=mathtune.__version__,
            stop=tuple(self.recipe.eval.stop or self.renderer.stop),
            weight=self.recipe.grpo.format_reward_weight,
            marked=MARKED,
        )

    def _launch(self) -> str:
        settings = dict(self._settings()) | {
            "data.train_files": "'$HERE/train.parquet'",
            "data.val_files": "'$HERE/validation.parquet'",
            "reward.custom_reward_function.path": "'$HERE/reward.py'",
            "reward.custom_reward_function.name": "compute_score",
            "trainer.nnodes": "${NODES:-1}",
            "trainer.n_gpus_per_node": "${GPUS:-8}",
        }
        lines = [f"    {_word(key, value)} \\" for key, value in settings.items()]
        return "\n".join(
            [
                "#!/bin/bash",
                f"# {self.recipe.name} with verl, written by mathtune {mathtune.__version__} for",
                f"# verl {TESTED_WITH}. NODES=2 GPUS=8 bash launch.sh OVERRIDES...; on several",
                "# nodes start Ray first (ray start). The folder must be seen by all of them.",
                *(f"# {note}" for note in self.notes),
                "set -euo pipefail",
                'HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)',
                "python3 -m verl.trainer.main_ppo \\",
                *lines,
                '    "$@"',
                "",
            ]
        )

    def _settings(self) -> Iterator[tuple[str, Any]]:
        recipe, train, grpo = self.recipe, self.recipe.train, self.recipe.grpo
        batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
        actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
        yield "algorithm.adv_estimator", "rloo" if grpo.leave_one_out else "grpo"
        yield "algorithm.norm_adv_by_std_in_grpo", grpo.scale_rewards == "group"
        yield "data.train_batch_size", batch
        yield "data.max_prompt_length", self._longest
        yield "data.max_response_length", recipe.eval.max_new_tokens
        yield "data.truncation", "error"
        yield "data.seed", recipe.seed
        yield "actor_rollout_ref.model.path", _model(recipe)
        if self._template is not None:
            yield "actor_rollout_ref.model.custom_chat_template", self._template
        if recipe.adapter is not None:
            yield "actor_rollout_ref.model.lora_rank", recipe.adapter.r
            yield "actor_rollout_ref.model.lora_alpha", recipe.adapter.lora_alpha
            modules = recipe.adapter.target_modules
            listed = modules if isinstance(modules, str) else "[" + ",".join(modules) + "]"
            yield "actor_rollout_ref.model.target_modules", listed
        yield f"{actor}.optim.lr", train.learning_rate
        yield f"{actor}.optim.weight_decay", train.weight_decay
        yield f"{actor}.grad_clip", train.max_grad_norm
        yield f"{actor}.ppo_mini_batch_size", batch
        yield f"{actor}.ppo_epochs", grpo.num_iterations
        yield f"{actor}.use_dynamic_bsz", True
        yield f"{actor}.clip_ratio_low", grpo.epsilon
        yield f"{actor}.clip_ratio_high", grpo.epsilon_high or grpo.epsilon
        yield f"{actor}.loss_agg_mode", _LOSS[grpo.loss_type]
        yield f"{actor}.use_kl_loss", grpo.beta > 0
        if grpo.beta > 0:
            yield f"{actor}.kl_loss_coef", grpo.beta
        yield f"{rollout}.name", "vllm"
        yield f"{rollout}.n", grpo.num_generations
        yield f"{rollout}.temperature", grpo.temperature
        yield f"{rollout}.log_prob_use_dynamic_bsz", True
        yield "trainer.project_name", recipe.tracking.project
        yield "trainer.experiment_name", recipe.name
        yield "trainer.logger", "[console]"
        yield "trainer.total_epochs", max(1, int(train.num_train_epochs))
        if train.eval_strategy == "steps":
            yield "trainer.test_freq", train.eval_steps
            yield "trainer.save_freq", train.eval_steps
        if train.max_steps and train.max_steps > 0:
            yield "trainer.total_training_steps", train.max_steps


def differences(recipe: Recipe) -> Iterator[str]:
    """Yield what of a recipe verl does in another way."""
    if recipe.eval.calculator:
        yield "no calculator: verl samples without it, although eval.calculator=true"
    if recipe.grpo.max_refills:
        yield "groups that are all right or all wrong stay in a step (grpo.max_refills)"
    if recipe.grpo.mask_truncated_completions:
        yield "answers cut at the limit count as wrong (grpo.mask_truncated_completions)"
    yield "answers go on after a stop string; the reward looks at the part before it"
    yield "an answer cut at the limit is graded as if it had ended"


def _model(recipe: Recipe) -> str:
    """Return the model as another program finds it: a hub id, or a whole path."""
    name = model_files.resolve(recipe.model.name_or_path or "")
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _word(key: str, value: Any) -> str:
    """Return ``key=value`` as one word of the shell, in Hydra's grammar."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value)
    if "{%" in text or " " in text:
        return shlex.quote(f"{key}={json.dumps(text)}")
    return f'"{key}={text}"' if "$" in text else shlex.quote(f"{key}={text}")
