"""Fine-tune a language model on math word problems: the whole idea in one flat file.

Run as:

    python examples/minimal_sft.py HuggingFaceTB/SmolLM2-135M train.jsonl validation.jsonl

The model is a folder or a hub id; each line of the files has a "question" and an "answer", a worked
solution that ends in "#### 42", as in GSM8K.

It reaches the same losses as `mathtune train` does with these settings (there is a test of it), on
nothing but PyTorch and Transformers. What mathtune has and this leaves out: checkpoints and
resuming, the weights of the best validation, LoRA and 4-bit weights, mixed precision, several GPUs,
memory that runs out, logits at supervised positions only, rows without padding, fast decoding with
a calculator, a careful grader, and the check that no training problem is a test problem.
"""

import argparse
import json
import math
import re

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model")
parser.add_argument("train")
parser.add_argument("validation")
parser.add_argument("--num-train-epochs", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=16, help="examples in an optimiser step")
parser.add_argument("--micro-batch-size", type=int, default=8, help="examples in a forward pass")
parser.add_argument("--learning-rate", type=float, default=1e-4)
parser.add_argument("--max-length", type=int, default=1024)
parser.add_argument("--max-new-tokens", type=int, default=256)
parser.add_argument("--seed", type=int, default=42)
args = parser.parse_args()

torch.manual_seed(args.seed)
device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).to(device)

# -------------------------------------------------------------------------------------------------
# Data: text → token ids, and which of them are learned


def prompt_of(problem):
    # No space at the end: tokenizers join it to the next word, so "Answer: " would end in a token
    # that the model never saw before a solution.
    return f"Question: {problem['question']}\nAnswer:"


def example_of(problem):
    """Return ids and how many of them are the prompt, which is given and not learned."""
    prompt = tokenizer(prompt_of(problem)).input_ids  # begins with BOS where the model has one
    ids = tokenizer(f"{prompt_of(problem)} {problem['answer']}").input_ids
    assert ids[: len(prompt)] == prompt, "the solution changes the prompt's tokens"
    # EOS is learned: a model that never sees it never stops.
    return [*ids, tokenizer.eos_token_id], len(prompt)


def examples_of(problems):
    examples = [example_of(problem) for problem in problems]
    # An answer that is cut off teaches never to finish, so what is too long is left out.
    fitting = [example for example in examples if len(example[0]) <= args.max_length]
    print(f"{len(fitting)} examples, {len(examples) - len(fitting)} too long and left out")
    return fitting


train_problems, validation_problems = (
    [json.loads(line) for line in open(path, encoding="utf-8")]
    for path in (args.train, args.validation)
)
train_examples, validation_examples = map(examples_of, (train_problems, validation_problems))


def supervised_tokens(examples):
    return sum(len(ids) - prompt for ids, prompt in examples)


def micro_batches(examples):
    """Cut examples into forward passes, like lengths together: less padding, same gradient."""
    by_length = sorted(examples, key=lambda example: -len(example[0]))
    for start in range(0, len(by_length), args.micro_batch_size):
        yield by_length[start : start + args.micro_batch_size]


# -------------------------------------------------------------------------------------------------
# Loss: the sum over solution tokens. Divided by their count in the whole step, it does not depend
# on how the step was cut; a mean of the micro-batches' means would.


def summed_loss(examples):
    ids_BT = pad_sequence([torch.tensor(ids) for ids, _ in examples], batch_first=True).to(device)
    # Padding is on the right, where under causal attention no real token sees it: no mask needed.
    logits_BTV = model(input_ids=ids_BT[:, :-1]).logits.float()  # token t predicts token t + 1
    targets_BT = ids_BT[:, 1:].clone()
    for row, (ids, prompt) in enumerate(examples):
        targets_BT[row, : prompt - 1] = -100  # the prompt
        targets_BT[row, len(ids) - 1 :] = -100  # the padding
    return cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="sum")


@torch.no_grad()
def validate(step):
    model.eval()
    total = sum(float(summed_loss(micro)) for micro in micro_batches(validation_examples))
    model.train()
    loss = total / supervised_tokens(validation_examples)
    print(f"step {step} eval_loss {loss:.7f} perplexity {math.exp(loss):.3f}", flush=True)


# -------------------------------------------------------------------------------------------------
# Training: one optimiser step is one fixed set of examples

steps_per_epoch = math.ceil(len(train_examples) / args.batch_size)
optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.0)
schedule = get_cosine_schedule_with_warmup(optimizer, 0, steps_per_epoch * args.num_train_epochs)
step = 0
validate(step)
for epoch in range(args.num_train_epochs):
    generator = torch.Generator().manual_seed(args.seed + epoch)
    order = torch.randperm(len(train_examples), generator=generator).tolist()
    for start in range(0, len(order), args.batch_size):
        examples = [train_examples[index] for index in order[start : start + args.batch_size]]
        count = supervised_tokens(examples)
        step_loss = 0.0
        for micro in micro_batches(examples):
            loss = summed_loss(micro) / count
            loss.backward()  # gradients of the micro-batches add up
            step_loss += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        step += 1
        print(f"step {step} loss {step_loss:.7f} grad_norm {norm:.4f}", flush=True)
    validate(step)

# -------------------------------------------------------------------------------------------------
# What counts in the end: is the answer right?


def final_answer(text):
    """Return the number after the last ####, or None."""
    found = re.findall(r"####\s*(-?[\d.,]*\d)", text)
    return float(found[-1].replace(",", "")) if found else None


@torch.no_grad()
def answer(problem):
    prompt = tokenizer(prompt_of(problem), return_tensors="pt").to(device)
    out_1T = model.generate(
        prompt.input_ids,
        attention_mask=prompt.attention_mask,
        max_new_tokens=args.max_new_tokens,
        do_sample=False,  # greedy
        pad_token_id=tokenizer.eos_token_id,
    )
    return tokenizer.decode(out_1T[0, prompt.input_ids.shape[1] :], skip_special_tokens=True)


model.eval()
right = 0
for problem in validation_problems:
    text = answer(problem).partition("Question:")[0]  # what it asks itself next does not count
    right += final_answer(text) == final_answer(problem["answer"])
print(f"exact match {right / len(validation_problems):.3f} ({right} of {len(validation_problems)})")
