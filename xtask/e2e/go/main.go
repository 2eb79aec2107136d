// The end-to-end stories that a client on the Go SDK can tell, under the names that ../py/client.py has for
// them. One line per story: `ok - STORY`, `skipped - STORY: why` or `FAILED - STORY: reason`. The SDK does
// the talking; the bearer is put in by hand, as the SDK's users do who have a token.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// storyLimit is the real time that a story may take on a busy machine.
const storyLimit = 45 * time.Second

// told is what the imaginary model answers, and what is filled into forms.
const told = "told by the stories"

// call is one tool call; text is the whole answer where it is known to the letter.
type call struct {
	tool      string
	arguments map[string]any
	text      string
}

// ability is what a kind of server can be asked. A story whose entry is missing is skipped.
type ability struct {
	tools                                          []string
	content, progress, slow, after, sample, elicit *call
}

var abilities = map[string]ability{
	"fixture": {
		tools:    []string{"test_simple_text", "test_tool_with_progress", "sleep"},
		content:  &call{tool: "test_simple_text", text: "This is a simple text response for testing."},
		progress: &call{tool: "test_tool_with_progress"},
		slow:     &call{tool: "sleep", arguments: map[string]any{"ms": 60_000}},
		after:    &call{tool: "echo", arguments: map[string]any{"text": "still here"}, text: "still here"},
		sample:   &call{tool: "test_sampling", arguments: map[string]any{"prompt": "Say hello."}},
		elicit:   &call{tool: "test_elicitation", arguments: map[string]any{"message": "Who are you?"}},
	},
	"go-sdk": {
		tools:   []string{"greet", "log", "sample", "elicit (form)"},
		content: &call{tool: "greet", arguments: map[string]any{"name": "Ada"}, text: "Hi Ada"},
		sample:  &call{tool: "sample", text: told},
		elicit:  &call{tool: "elicit (form)", text: told},
	},
	"mcp-go": {
		tools:    []string{"echo", "add", "longRunningOperation"},
		content:  &call{tool: "echo", arguments: map[string]any{"message": "grüße – 你好"}, text: "Echo: grüße – 你好"},
		progress: &call{tool: "longRunningOperation", arguments: map[string]any{"duration": 1, "steps": 4}},
		slow:     &call{tool: "longRunningOperation", arguments: map[string]any{"duration": 6, "steps": 60}},
		after:    &call{tool: "echo", arguments: map[string]any{"message": "still here"}, text: "Echo: still here"},
	},
	"everything": {
		tools:    []string{"echo", "get-sum", "trigger-long-running-operation"},
		content:  &call{tool: "echo", arguments: map[string]any{"message": "hello"}, text: "Echo: hello"},
		progress: &call{tool: "trigger-long-running-operation", arguments: map[string]any{"duration": 0.3, "steps": 3}},
		slow:     &call{tool: "trigger-long-running-operation", arguments: map[string]any{"duration": 6, "steps": 60}},
		after:    &call{tool: "echo", arguments: map[string]any{"message": "still here"}, text: "Echo: still here"},
		sample:   &call{tool: "trigger-sampling-request", arguments: map[string]any{"prompt": "Say hello."}},
		elicit:   &call{tool: "trigger-elicitation-request"},
	},
	"filesystem": {tools: []string{"read_text_file", "list_allowed_directories"}, content: &call{tool: "list_allowed_directories"}},
	"git":        {tools: []string{"git_status", "git_log"}},
}

// errSkip says that a story does not apply here.
var errSkip = errors.New("the server offers nothing for it")

// bearer puts the token on every request.
type bearer struct{ token string }

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(request)
}

// stories is a connected client and what it was asked and told.
type stories struct {
	able                       ability
	session                    *mcp.ClientSession
	sampled, elicited, stepped atomic.Int64
	backwards                  atomic.Bool
	last                       atomic.Int64
}

// legacy is what the stories speak, in which a server may ask while it works.
var legacy = &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"}

func connect(
	ctx context.Context, url, token string, s *stories, options *mcp.ClientSessionOptions,
) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1.0.0"}, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			s.sampled.Add(1)
			return &mcp.CreateMessageResult{Role: "assistant", Model: "stories", Content: &mcp.TextContent{Text: told}}, nil
		},
		ElicitationHandler: func(_ context.Context, request *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			s.elicited.Add(1)
			return &mcp.ElicitResult{Action: "accept", Content: fill(request.Params.RequestedSchema)}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			// In thousandths, since some servers count in fractions.
			now := int64(request.Params.Progress * 1000)
			if before := s.last.Swap(now); s.stepped.Add(1) > 1 && now <= before {
				s.backwards.Store(true)
			}
		},
	})
	transport := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer{token}}}
	return client.Connect(ctx, transport, options)
}

// fill returns content that fits a form: what it requires, or every field of one that requires nothing.
func fill(schema any) map[string]any {
	form, _ := schema.(map[string]any)
	fields, _ := form["properties"].(map[string]any)
	required, isRequired := form["required"].([]any)
	content := map[string]any{}
	for name, shape := range fields {
		wanted := !isRequired
		for _, one := range required {
			wanted = wanted || one == name
		}
		if !wanted {
			continue
		}
		about, _ := shape.(map[string]any)
		choices, _ := about["enum"].([]any)
		switch {
		case len(choices) > 0:
			content[name] = choices[0]
		case about["type"] == "boolean":
			content[name] = true
		case about["type"] == "integer" || about["type"] == "number":
			content[name] = 1
		case about["format"] == "email":
			content[name] = "stories@example.org"
		default:
			content[name] = told
		}
	}
	return content
}

func text(result *mcp.CallToolResult) string {
	var all []string
	for _, block := range result.Content {
		if content, ok := block.(*mcp.TextContent); ok {
			all = append(all, content.Text)
		}
	}
	return strings.Join(all, "\n")
}

func (s *stories) call(ctx context.Context, wanted *call) (string, error) {
	if wanted == nil {
		return "", errSkip
	}
	params := &mcp.CallToolParams{Name: wanted.tool, Arguments: wanted.arguments}
	if wanted.arguments == nil {
		params.Arguments = map[string]any{}
	}
	params.SetProgressToken("stories")
	result, err := s.session.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	answer := text(result)
	if result.IsError {
		return "", fmt.Errorf("%s failed: %s", wanted.tool, answer)
	}
	if wanted.text != "" && answer != wanted.text {
		return "", fmt.Errorf("%s answered %q", wanted.tool, answer)
	}
	return answer, nil
}

func (s *stories) lists(ctx context.Context) error {
	var names []string
	for tool, err := range s.session.Tools(ctx, nil) {
		if err != nil {
			return err
		}
		names = append(names, tool.Name)
	}
	for _, wanted := range s.able.tools {
		if !strings.Contains("\n"+strings.Join(names, "\n")+"\n", "\n"+wanted+"\n") {
			return fmt.Errorf("no %s in %v", wanted, names)
		}
	}
	offered := s.session.InitializeResult().Capabilities
	if offered.Resources != nil {
		if _, err := s.session.ListResources(ctx, nil); err != nil {
			return err
		}
	}
	if offered.Prompts != nil {
		if _, err := s.session.ListPrompts(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *stories) progresses(ctx context.Context) error {
	s.stepped.Store(0)
	if _, err := s.call(ctx, s.able.progress); err != nil {
		return err
	}
	if s.stepped.Load() < 2 || s.backwards.Load() {
		return fmt.Errorf("%d steps, backwards: %v", s.stepped.Load(), s.backwards.Load())
	}
	return nil
}

func (s *stories) cancels(ctx context.Context) error {
	if s.able.slow == nil {
		return errSkip
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := s.call(short, s.able.slow); !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the call was not cancelled: %v", err)
	}
	_, err := s.call(ctx, s.able.after)
	return err
}

// answers makes a call during which the client is asked something, which asked counts.
func (s *stories) answers(ctx context.Context, wanted *call, asked *atomic.Int64) error {
	before := asked.Load()
	answer, err := s.call(ctx, wanted)
	if err != nil {
		return err
	}
	if asked.Load() == before || !strings.Contains(answer, told) {
		return fmt.Errorf("asked %d times, answered %q", asked.Load()-before, answer)
	}
	return nil
}

func main() {
	url := flag.String("url", "", "the broker's MCP endpoint")
	token := flag.String("token", "", "the bearer token")
	server := flag.String("server", "", "which kind of server it is")
	only := flag.String("only", "", "tell the stories whose name contains this")
	_ = flag.String("path", "", "the directory of the server; not looked at")
	flag.Parse()
	able, known := abilities[*server]
	if !known {
		fmt.Fprintf(os.Stderr, "there is no kind of server %q\n", *server)
		os.Exit(64)
	}

	s := &stories{able: able}
	passed, failed := 0, 0
	tell := func(name string, story func(context.Context) error) {
		if !strings.Contains(name, *only) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), storyLimit)
		defer cancel()
		err := story(ctx)
		switch {
		case err == nil:
			passed++
			fmt.Printf("ok - %s\n", name)
		case errors.Is(err, errSkip):
			fmt.Printf("skipped - %s: %v\n", name, err)
		default:
			failed++
			fmt.Printf("FAILED - %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}

	var err error
	if s.session, err = connect(context.Background(), *url, *token, s, legacy); err != nil {
		fmt.Printf("FAILED - a session opens: %v\n", err)
		os.Exit(1)
	}
	tell("tools, resources and prompts are listed", s.lists)
	tell("a tool answers with the very content", func(ctx context.Context) error {
		_, err := s.call(ctx, s.able.content)
		return err
	})
	tell("progress arrives in order before the result", s.progresses)
	tell("a sampling request is answered", func(ctx context.Context) error {
		return s.answers(ctx, s.able.sample, &s.sampled)
	})
	tell("an elicitation is answered", func(ctx context.Context) error {
		return s.answers(ctx, s.able.elicit, &s.elicited)
	})
	tell("a cancelled call leaves the session working", s.cancels)
	tell("the SDK's default mode finds its era", func(ctx context.Context) error {
		other, err := connect(ctx, *url, *token, &stories{}, nil)
		if err != nil {
			return err
		}
		defer other.Close()
		again := &stories{able: s.able, session: other}
		return again.lists(ctx)
	})
	tell("a wrong bearer is refused", func(ctx context.Context) error {
		other, err := connect(ctx, *url, "wrong", &stories{}, legacy)
		if err == nil {
			other.Close()
			return errors.New("it was let in")
		}
		return nil
	})
	tell("a session that is closed ends", func(context.Context) error { return s.session.Close() })
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
