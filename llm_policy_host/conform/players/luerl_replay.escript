#!/usr/bin/env escript
%%! -noshell
%% Replay lines on luerl, the Lua of Erlang and Elixir hosts: MODULE INPUT OUTPUT.
%%
%% A luerl state is a value: every line starts from the state that loaded the module, and what a
%% line leaves behind is dropped. The lines are shared among one process per scheduler.
-mode(compile).

main([Module, Input, Output]) ->
    State = loaded(Module),
    {ok, Text} = file:read_file(Input),
    Lines = [Line || Line <- binary:split(Text, <<"\n">>, [global]), Line =/= <<>>],
    Answers = shared(Lines, State),
    ok = file:write_file(Output, [[Answer, "\n"] || Answer <- Answers]).

%% The state in which `answer` is the module's function.
loaded(Module) ->
    Path = unicode:characters_to_binary(os:getenv("LUA_PATH")),
    Chunk = <<"package.path = '", Path/binary, "' answer = require('",
              (list_to_binary(Module))/binary, "')">>,
    try luerl:do(Chunk, luerl:init()) of
        {_, State} -> State
    catch
        error:{lua_error, Reason, _} -> exit({cannot_load, Reason})
    end.

%% Every line's answer, in order.
shared(Lines, State) ->
    Workers = erlang:system_info(schedulers_online),
    Size = max(1, (length(Lines) + Workers - 1) div Workers),
    Parent = self(),
    Pids = [worker(Parent, Part, State) || Part <- parts(Lines, Size)],
    lists:append([collected(Pid, Monitor) || {Pid, Monitor} <- Pids]).

collected(Pid, Monitor) ->
    receive
        {Pid, Answers} -> Answers;
        {'DOWN', Monitor, process, Pid, Reason} when Reason =/= normal -> exit(Reason)
    end.

worker(Parent, Lines, State) ->
    spawn_monitor(fun() -> Parent ! {self(), [answered(Line, State) || Line <- Lines]} end).

parts([], _) -> [];
parts(Lines, Size) when length(Lines) =< Size -> [Lines];
parts(Lines, Size) ->
    {Part, Rest} = lists:split(Size, Lines),
    [Part | parts(Rest, Size)].

answered(Line, State) ->
    try luerl:call_function1([<<"answer">>], [Line], State) of
        {[Answer | _], _} -> Answer
    catch
        error:{lua_error, Reason, _} -> told(Reason);
        _:Reason -> told(Reason)
    end.

told(Reason) ->
    Text = unicode:characters_to_binary(io_lib:format("!error: ~0P", [Reason, 60])),
    binary:replace(Text, <<"\n">>, <<" ">>, [global]).
