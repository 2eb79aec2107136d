// A server on the Go SDK that acts at a forge: the tools of ../../py/forge_server.py under their names, and
// the habits of a server in Go. What the forge refuses is a result that is an error, with the forge's own
// words; requests go through the standard library's client, which keeps its connections.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// askLimit is the time that the forge may take to answer.
const askLimit = 40 * time.Second

var (
	forge  = cmp.Or(os.Getenv("FORGEJO_URL"), os.Getenv("GITEA_HOST"))
	token  = cmp.Or(os.Getenv("FORGEJO_ACCESS_TOKEN"), os.Getenv("GITEA_ACCESS_TOKEN"))
	client = &http.Client{Timeout: askLimit}
)

// ask returns what the forge answers; what it refuses is an error with its own words.
func ask(ctx context.Context, method, path string, body any) (string, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return "", err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, forge+"/api/v1"+path, content)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "token "+token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode < 400 {
		return string(text), nil
	}
	var said struct{ Message string }
	if json.Unmarshal(text, &said) == nil && said.Message != "" {
		return "", errors.New(said.Message)
	}
	return "", fmt.Errorf("%s: %s", answer.Status, text)
}

// tool adds one whose answer is the forge's to a request.
func tool[In any](server *mcp.Server, name string, request func(In) (method, path string, body any)) {
	answer := func(ctx context.Context, _ *mcp.CallToolRequest, given In) (*mcp.CallToolResult, any, error) {
		method, path, body := request(given)
		text, err := ask(ctx, method, path, body)
		if err != nil {
			return nil, nil, err
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	}
	mcp.AddTool(server, &mcp.Tool{Name: name}, answer)
}

type nothing struct{}

type repository struct {
	Name string `json:"name"`
}

type issue struct {
	Owner string `json:"owner"`
	Repo  string `json:"repo"`
	Title string `json:"title"`
	Body  string `json:"body"`
}

type organization struct {
	Username string `json:"username"`
}

func main() {
	if _, err := ask(context.Background(), "GET", "/version", nil); err != nil {
		log.Fatalf("the forge does not take the token: %v", err)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "forge on the Go SDK", Version: "1"}, nil)
	tool(server, "get_my_user_info", func(nothing) (string, string, any) { return "GET", "/user", nil })
	tool(server, "check_notifications", func(nothing) (string, string, any) { return "GET", "/notifications", nil })
	tool(server, "create_repo", func(own repository) (string, string, any) { return "POST", "/user/repos", own })
	tool(server, "create_org", func(own organization) (string, string, any) { return "POST", "/orgs", own })
	tool(server, "create_issue", func(own issue) (string, string, any) {
		path := "/repos/" + url.PathEscape(own.Owner) + "/" + url.PathEscape(own.Repo) + "/issues"
		return "POST", path, map[string]string{"title": own.Title, "body": own.Body}
	})
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		log.Fatalf("the server failed: %v", err)
	}
}
