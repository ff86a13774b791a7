from portkey_ai import Portkey

# Initialize the Portkey client
portkey = Portkey(
    api_key="PORTKEY_API_KEY",  # Replace with your Portkey API key
    virtual_key="VIRTUAL_KEY",# The Anthropic virtual key
    base_url="http://127.0.0.1:8787/v1"
)

# Generate a text completion
def get_text_completion():
    completion = portkey.completions.create(
        prompt='Say this is a test',
        model='claude-2',
        max_tokens=250 #required parameter for Anthropic
    )
    return completion

response = get_text_completion()
print(response)
