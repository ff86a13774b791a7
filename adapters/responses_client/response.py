"""Chat completion → response."""

from __future__ import annotations

from adapters import counting
from adapters.errors import BadAnswer
from adapters.pivot import TEXT, Choice, bad_answer, calls_of, pieces, read_completion
from adapters.responses_client import output
from adapters.responses_client.narration import BadCall, Narration, TooLarge
from adapters.responses_client.tools import custom_tools
from adapters.types import Call, Reply
from adapters.values import ABSENT, BRACE, UNREADABLE, first


def to_response(call: Call, body: bytes) -> Reply:
    """Builds the response out of the first choice. Raises BadAnswer when the body is no chat completion."""
    completion = read_completion(body)
    assert completion.choices is not None
    choice = completion.choices[0]
    told = Narration(call, custom_tools(call.body))
    try:
        narrate(told, choice, [])
        told.end(choice.finish_reason not in output.INCOMPLETE, [])
    except UNREADABLE as error:
        raise bad_answer(error) from error
    except TooLarge as error:
        raise BadAnswer("The provider's answer is too large to translate.") from error
    except BadCall as error:
        raise BadAnswer(str(error)) from error
    usage = counting.usage_of(body)
    model = completion.model or call.model
    made = output.response(call, output.echo(call), model, told.items, usage, choice.finish_reason)
    return Reply(made, usage)


def narrate(told: Narration, choice: Choice, out: list[bytes]) -> None:
    """Tells what a choice says, whole or a delta. Raises one of `UNREADABLE`, TooLarge, or BadCall."""
    said = choice.message or choice.delta
    if said is None:
        return
    logprobs = choice.logprobs if first(choice.logprobs) == BRACE else ABSENT
    found = pieces(said)
    if said.annotations and choice.message is not None:
        told.expect(said.annotations, [value for kind, value in found if kind == TEXT])
    for kind, value in found:
        told.say(kind, value, out, logprobs)
    if logprobs and not found:
        told.chances(logprobs)
    if said.annotations and choice.message is None:
        told.annotate(said.annotations, out)
    if said.tool_calls or said.function_call is not None:
        for number, part in enumerate(calls_of(said)):
            if choice.message is not None:
                part.index = number
            told.call(part, out)
