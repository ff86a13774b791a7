from portkey_ai import Portkey

# Initialize the Portkey client
portkey = Portkey(
    api_key="/turdjWE+tIUeAzmzGxGEkkJLBQ=",  # Replace with your Portkey API key
    virtual_key="open-ai-key-6317bc",   # The OpenAI virtual key
    base_url="http://127.0.0.1:8787/v1"
)

# Generate a text completion
def get_text_completion():
    completion = portkey.completions.create(
        prompt='Say this is a test',
        model='gpt-3.5-turbo-instruct'
    )
    return completion

response = get_text_completion()
print(response)
